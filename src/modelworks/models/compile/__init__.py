"""Models as ONNX graphs: inputs ``numbers`` float32 [N,k] and ``texts`` string [N,m], one output ``scores`` [N,c].

An input that the signature does not have is left out. The columns of ``scores`` are the probabilities in the
order of the signature's classes, or the single value of a regression.
"""
