"""Read models: folds of the log that can be thrown away and rebuilt, and the query language over them."""
