"""Print the settings of a base restored from its .nemo file."""

import sys
from pathlib import Path

from adapter_build.models.hf_causal_lm import HFCausalLM

base = HFCausalLM.restore(Path(sys.argv[1]))
config = base.model.config
print(config.rope_theta, config.rope_scaling["rope_type"], base.model.dtype, len(base.tokenizer))
