"""Imports of the server that workers are forked from, compiled templates and the commit of the code, for all cells.

The server computes nothing, since a fork loses the threads of whatever computes; the one thread that pyarrow's
allocator starts looks after itself in a fork.
"""

import datasets  # noqa: F401
import lightning.pytorch  # noqa: F401
import sklearn.cluster  # noqa: F401
import torch  # noqa: F401
import transformers  # noqa: F401

import selectune.runs.command  # noqa: F401
from selectune.costs.record import code_version
from selectune.report.render import precompile

code_version()  # is remembered, also by what is forked, as are the templates
precompile()
