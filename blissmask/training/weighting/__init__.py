"""How much each latent cell counts: pure, tensors in and tensors out."""
