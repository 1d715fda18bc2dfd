"""How a model and its training fit into memory."""
