"""Networks on a host: bridges, DHCP and DNS."""
