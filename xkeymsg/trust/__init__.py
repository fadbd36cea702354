"""Who is who, and where secret keys live."""
