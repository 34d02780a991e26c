"""Pure: the parts that every exchange is made of."""
