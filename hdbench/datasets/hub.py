"""Files of datasets on the Hugging Face hub, fetched with the user's token into the hub's own cache."""

from dataclasses import dataclass
from pathlib import Path

from hdbench.errors import HdbenchError
from hdbench.interrupts import interrupts_deferred
from hdbench.npz import one_line
from hdbench.progress import Progress


@dataclass(frozen=True)
class HubFile:
    """One file of a dataset repository on the hub."""

    repository: str
    name: str

    def fetch(self, progress: Progress) -> Path:
        """Where the file lies on this machine, downloaded if it does not; an interrupted download is resumed.

        Raises HdbenchError when the hub refuses it, has it not, or cannot be reached.
        """
        with interrupts_deferred():
            from huggingface_hub import errors as hub
            from huggingface_hub import hf_hub_download, try_to_load_from_cache

        cached = try_to_load_from_cache(self.repository, self.name, repo_type="dataset")
        if isinstance(cached, str):
            return Path(cached)
        page = f"huggingface.co/datasets/{self.repository}"
        progress.say(f"Downloading {self.name} from {page}.")
        try:
            return Path(hf_hub_download(self.repository, self.name, repo_type="dataset"))
        except hub.GatedRepoError as error:
            raise HdbenchError(
                f"{page} is only for those who accepted its terms: do so there, then `hf auth login`, or set HF_TOKEN."
            ) from error
        except hub.RepositoryNotFoundError as error:  # what the hub says to those without a token, too
            raise HdbenchError(
                f"{page} is not open to you: accept its terms there, then `hf auth login`, or set HF_TOKEN."
            ) from error
        except hub.LocalEntryNotFoundError as error:  # a kind of EntryNotFoundError, but it was never asked for
            raise HdbenchError(
                f"{page} could not be reached, and {self.name} is not here yet; try again, or name where you have it."
            ) from error
        except hub.EntryNotFoundError as error:
            raise HdbenchError(f"{page} has no {self.name}: there is no such category.") from error
        except Exception as error:  # the network, the disk, a proxy: each brings its own
            raise HdbenchError(
                f"{self.name} could not be downloaded from {page} ({one_line(error)}); try again, it resumes."
            ) from error
