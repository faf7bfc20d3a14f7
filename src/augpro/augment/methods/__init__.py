"""The augmentation methods, one module for each kind."""
