"""Where secret keys live: one provider a module. A provider looks up; it decides nothing."""
