"""Classify texts with a model that ``augpro export`` has written: ONNX Runtime, tokenizers and numpy, nothing else.

from augpro_runtime import Classifier

classifier = Classifier.load("exported")
classifier.predict(["my invoice is wrong"])[0].label
"""

from augpro_runtime.classifier import Classifier, Prediction
from augpro_runtime.errors import FolderError, InputError, TextError
from augpro_runtime.folder import Calibration, Manifest

__all__ = ["Calibration", "Classifier", "FolderError", "InputError", "Manifest", "Prediction", "TextError"]
