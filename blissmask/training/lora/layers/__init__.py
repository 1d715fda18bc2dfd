"""LoRA layers in a denoiser: which layers get one, what trains, how it computes, and what holds it small."""
