"""The query language: a filter, an order and a page over any kind of resource."""
