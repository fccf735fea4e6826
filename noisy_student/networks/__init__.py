"""Networks of any origin, and the contract that all stages rely on: RGB 0..255 -> logits."""
