"""What the tests share: real programs, real waiting, and processes of their own to do dangerous things in."""
