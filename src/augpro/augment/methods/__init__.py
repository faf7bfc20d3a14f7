"""The methods of augmentation, one file for each kind."""
