"""Would it boot; and the menu that boots it."""
