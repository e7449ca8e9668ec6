"""Who computes: services hosted by threads or by Ray behind one protocol."""
