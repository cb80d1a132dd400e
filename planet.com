0.0008159384714739725 : Mass of the planets (in mstar)
80.57859896833448 : Semi-major axes
0.4228818040156064 : Eccentricities
74.35344411137103 : Inclinaison (deg)
1 : is Inclinaison damping?
1 : planets feel Disk ?
1 : planets feel others ?
0 : Accretion onto planets ?
1.66 : Accretion parameter
0.001 : Maximum mass of the planet
0.4 : Smoothing
1.0 : Region excluded from torque calculation
