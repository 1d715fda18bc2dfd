"""Training states: folders that exist whole or not at all, without pickles.

    NAME-step00000500-state/
        lora*.safetensors, optimizer*.safetensors    tensors
        state.json                                   numbers: step, schedules, settings; names of the files of tensors
        manifest.json                                size and SHA-256 of every other file, written last

A state is written under a hidden name, then renamed; only after that are older states removed.

A run that starts anew replaces the states of an earlier run. While it removes them, a hidden file names its own first
state, so that after a kill it is clear which states count.
"""
