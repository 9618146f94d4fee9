"""What a report says, whatever it is written in: the page, Markdown, LaTeX and CSV are made of this."""

from dataclasses import dataclass
from functools import cached_property

from hdbench.reporting.distances import LineStatistics, line_statistics
from hdbench.reporting.merging import Record
from hdbench.reporting.pictures import shown_lines
from hdbench.reporting.published import PublishedBoard, published_boards
from hdbench.reporting.tables import HELD_OUT, Board, board
from hdbench.results import Results


@dataclass(frozen=True)
class Content:
    """The numbers of one run, or of several as one."""

    record: Record

    @property
    def results(self) -> Results:
        """What stands in results.json."""
        return self.record.results

    @cached_property
    def board(self) -> Board:
        """The scores under the protocols that were asked for."""
        return board(self.results)

    @cached_property
    def across(self) -> list[tuple[str, Board]]:
        """By metric, the same samples under every protocol, a column each."""
        everything = board(self.results, every_protocol=True)
        others = {score.metric for row in self.results.rows for score in row.other_scores}
        metrics = dict.fromkeys(
            column.metric for column in everything.columns if column.is_headline and column.metric in others
        )
        parts = (_of_metric(everything, metric) for metric in metrics)
        return [(part.columns[0].name, part) for part in parts if part.columns]

    @cached_property
    def published(self) -> list[PublishedBoard]:
        """The papers' numbers under the same protocols, for the same category."""
        category = self.results.dataset.category
        return [one for protocol in self.board.protocols for one in published_boards(protocol, category)]

    @cached_property
    def statistics(self) -> list[LineStatistics]:
        """Of the models whose shapes are shown and of real shapes, under the first protocol."""
        if not self.board.protocols:
            return []
        lines = (line for line in shown_lines(self.board) if not line.is_control or line.method == HELD_OUT)
        found = (line_statistics(self.record, line, self.board.protocols[0]) for line in lines)
        return [one for one in found if one is not None]


def _of_metric(everything: Board, metric: str) -> Board:
    return everything.choose(lambda column: column.metric == metric)
