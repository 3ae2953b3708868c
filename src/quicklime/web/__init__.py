"""HTTP as every service speaks it: problem documents, who is asking, limits, the TLS listener and the plain one."""
