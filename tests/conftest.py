"""What all tests need to have happened before anything else."""

import os
import signal

import pytest
import torch

# Triton must know before it is first imported, by whatever it is, that there is no GPU and its interpreter is to run.
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")

# A suite started in the background inherits ignored interrupts, and so would the processes that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def call(capsys):
    """Run a command in this process; returns (exit code, standard output, standard error)."""
    from hdbench.cli import _main

    def run(*arguments):
        code = _main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run
