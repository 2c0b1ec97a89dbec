"""Where the verbs of several stations are joined and the loop is closed."""
