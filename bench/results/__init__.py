"""The results folder: what a run leaves behind, written so that nothing is ever half there."""
