"""Tables, figures and the page: they read results and never load a model."""
