"""Imports of the server of `tests.processes` before it forks: all that a run imports somewhere on its way."""

import gc

import accelerate  # noqa: F401
import datasets.packaged_modules  # noqa: F401
import matplotlib.backends.backend_agg  # noqa: F401
import pandas  # noqa: F401
import pyarrow.dataset
import pyarrow.parquet  # noqa: F401
import scipy.io  # noqa: F401
import sklearn.metrics  # noqa: F401
import torch.distributed.tensor  # noqa: F401
import transformers.integrations
import transformers.loss.loss_utils
import transformers.models.auto.modeling_auto
import transformers.models.bert.modeling_bert  # noqa: F401
from transformers.conversion_mapping import get_checkpoint_conversion_mapping

import selectune.tables.preload
import selectune.verbs  # noqa: F401
import tests.processes  # noqa: F401
from selectune.report.render import precompile

for package in ("selectune.diagnose", "selectune.pilot"):
    precompile(package)
get_checkpoint_conversion_mapping("bert")  # makes those of all models, and keeps them
gc.collect()
gc.freeze()  # or each collection in a fork looks through all of this, and copies its pages
