"""Backbones, their construction from a seed, and the flat vector their parameters live in."""
