"""How fast this machine trains and infers, and how near that is to what it could do."""
