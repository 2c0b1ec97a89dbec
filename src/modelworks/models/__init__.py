"""The product that passes from the making line to the using line: signature, package, predictor."""
