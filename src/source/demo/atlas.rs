//! Where the simulated carriers work: real cities with the roads between them, and sea lanes.
//! Invariant: every city of a region can be reached from its first one; sea lanes stay off the land.

/// A name and its place: degrees north, degrees east.
pub(super) type Place = (&'static str, f64, f64);

/// Cities that lie together, and pairs of them (by index) that a main road or railway joins.
#[derive(Debug)]
pub(super) struct Region {
    pub(super) name: &'static str,
    pub(super) places: &'static [Place],
    pub(super) roads: &'static [(u8, u8)],
}

/// Ports in the order of a voyage. Places without a name are where ships turn.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) name: &'static str,
    pub(super) places: &'static [Place],
}

#[rustfmt::skip]
pub(super) const REGIONS: &[Region] = &[
    Region { name: "nordic", places: &[
        ("Oslo", 59.91, 10.75), ("Gothenburg", 57.71, 11.97), ("Malmö", 55.60, 13.00), ("Stockholm", 59.33, 18.06),
        ("Örebro", 59.27, 15.21), ("Jönköping", 57.78, 14.16), ("Copenhagen", 55.68, 12.55), ("Karlstad", 59.38, 13.50),
        ("Hässleholm", 56.16, 13.77),
    ], roads: &[(0, 1), (1, 8), (8, 2), (2, 6), (1, 5), (5, 8), (3, 5), (3, 4), (4, 7), (7, 0), (1, 7), (4, 5)] },
    Region { name: "rhine", places: &[
        ("Rotterdam", 51.92, 4.48), ("Antwerp", 51.22, 4.40), ("Brussels", 50.85, 4.35), ("Cologne", 50.94, 6.96),
        ("Frankfurt", 50.11, 8.68), ("Luxembourg", 49.61, 6.13), ("Amsterdam", 52.37, 4.90), ("Duisburg", 51.43, 6.76),
    ], roads: &[(0, 1), (1, 2), (2, 3), (3, 4), (2, 5), (5, 4), (0, 6), (6, 7), (0, 7), (7, 3), (3, 5)] },
    Region { name: "british", places: &[
        ("London", 51.51, -0.13), ("Birmingham", 52.48, -1.90), ("Manchester", 53.48, -2.24), ("Leeds", 53.80, -1.55),
        ("Newcastle", 54.98, -1.61), ("Edinburgh", 55.95, -3.19), ("Glasgow", 55.86, -4.25), ("Bristol", 51.45, -2.59),
    ], roads: &[(0, 1), (0, 7), (7, 1), (1, 2), (2, 3), (1, 3), (3, 4), (4, 5), (5, 6), (2, 6)] },
    Region { name: "gallia", places: &[
        ("Paris", 48.86, 2.35), ("Lyon", 45.76, 4.84), ("Marseille", 43.30, 5.37), ("Toulouse", 43.60, 1.44),
        ("Bordeaux", 44.84, -0.58), ("Nantes", 47.22, -1.55), ("Lille", 50.63, 3.06), ("Strasbourg", 48.57, 7.75),
        ("Niort", 46.32, -0.40),
    ], roads: &[(0, 1), (1, 2), (3, 4), (4, 8), (8, 5), (5, 0), (0, 6), (0, 7), (7, 1), (1, 3), (0, 4)] },
    Region { name: "iberia", places: &[
        ("Madrid", 40.42, -3.70), ("Zaragoza", 41.65, -0.88), ("Barcelona", 41.39, 2.16), ("Valencia", 39.47, -0.38),
        ("Seville", 37.39, -5.98), ("Lisbon", 38.82, -9.16), ("Porto", 41.17, -8.54), ("Burgos", 42.34, -3.70),
        ("Bilbao", 43.25, -2.93),
    ], roads: &[(0, 1), (1, 2), (0, 3), (0, 4), (0, 5), (5, 6), (0, 7), (7, 8), (8, 1), (7, 6), (1, 3)] },
    Region { name: "italia", places: &[
        ("Milan", 45.46, 9.19), ("Turin", 45.07, 7.69), ("Genoa", 44.42, 8.93), ("Verona", 45.44, 10.99),
        ("Bologna", 44.49, 11.34), ("Florence", 43.77, 11.26), ("Rome", 41.90, 12.50), ("Naples", 40.88, 14.29),
        ("Frosinone", 41.64, 13.35),
    ], roads: &[(0, 1), (1, 2), (0, 2), (0, 3), (3, 4), (0, 4), (4, 5), (5, 6), (6, 8), (8, 7)] },
    Region { name: "central", places: &[
        ("Berlin", 52.52, 13.40), ("Hamburg", 53.55, 9.99), ("Hanover", 52.37, 9.73), ("Leipzig", 51.34, 12.37),
        ("Nuremberg", 49.45, 11.08), ("Munich", 48.14, 11.58), ("Prague", 50.08, 14.44), ("Vienna", 48.21, 16.37),
    ], roads: &[(0, 1), (1, 2), (2, 0), (0, 3), (2, 3), (3, 4), (4, 5), (3, 6), (4, 6), (6, 7), (5, 7)] },
    Region { name: "vistula", places: &[
        ("Warsaw", 52.23, 21.01), ("Łódź", 51.76, 19.46), ("Poznań", 52.41, 16.93), ("Wrocław", 51.11, 17.03),
        ("Kraków", 50.06, 19.94), ("Gdańsk", 54.33, 18.60), ("Lublin", 51.25, 22.57), ("Białystok", 53.13, 23.16),
    ], roads: &[(0, 1), (1, 2), (1, 3), (3, 4), (4, 0), (0, 5), (0, 6), (0, 7), (2, 3), (2, 5)] },
    Region { name: "danube", places: &[
        ("Budapest", 47.50, 19.04), ("Bratislava", 48.15, 17.11), ("Zagreb", 45.81, 15.98), ("Belgrade", 44.79, 20.45),
        ("Timișoara", 45.75, 21.23), ("Cluj-Napoca", 46.77, 23.59), ("Bucharest", 44.43, 26.10), ("Sofia", 42.70, 23.32),
    ], roads: &[(0, 1), (0, 2), (0, 3), (2, 3), (0, 4), (4, 5), (4, 3), (4, 6), (5, 6), (3, 7), (6, 7)] },
    Region { name: "anatolia", places: &[
        ("Bursa", 40.19, 29.06), ("Eskişehir", 39.78, 30.52), ("Ankara", 39.93, 32.86), ("İzmir", 38.45, 27.25),
        ("Konya", 37.87, 32.48), ("Kayseri", 38.73, 35.48), ("Adana", 37.00, 35.32), ("Gaziantep", 37.07, 37.38),
    ], roads: &[(0, 1), (1, 2), (0, 3), (2, 4), (2, 5), (4, 6), (5, 6), (6, 7), (3, 4)] },
    Region { name: "atlantic", places: &[
        ("Boston", 42.36, -71.08), ("New York", 40.78, -73.95), ("Philadelphia", 39.96, -75.17), ("Baltimore", 39.30, -76.64),
        ("Washington", 38.91, -77.04), ("Pittsburgh", 40.44, -79.99), ("Buffalo", 42.88, -78.85), ("Albany", 42.65, -73.76),
    ], roads: &[(0, 7), (1, 7), (1, 2), (2, 3), (3, 4), (3, 5), (5, 6), (6, 7), (2, 5)] },
    Region { name: "lakes", places: &[
        ("Chicago", 41.84, -87.70), ("Milwaukee", 43.04, -87.95), ("Minneapolis", 44.98, -93.27), ("Indianapolis", 39.77, -86.16),
        ("Columbus", 39.96, -83.00), ("Detroit", 42.35, -83.10), ("St. Louis", 38.63, -90.24), ("Kansas City", 39.10, -94.58),
        ("Des Moines", 41.59, -93.62),
    ], roads: &[(0, 1), (1, 2), (0, 3), (3, 4), (4, 5), (3, 6), (0, 6), (6, 7), (7, 8), (8, 2), (8, 0)] },
    Region { name: "lonestar", places: &[
        ("Dallas", 32.78, -96.80), ("Houston", 29.76, -95.37), ("San Antonio", 29.42, -98.49), ("Austin", 30.27, -97.74),
        ("Oklahoma City", 35.47, -97.52), ("Little Rock", 34.75, -92.29), ("Shreveport", 32.52, -93.75), ("El Paso", 31.80, -106.42),
        ("Memphis", 35.12, -90.00),
    ], roads: &[(0, 1), (1, 2), (2, 3), (3, 0), (0, 4), (4, 5), (0, 6), (6, 1), (6, 5), (5, 8), (2, 7), (0, 7)] },
    Region { name: "pacific", places: &[
        ("Seattle", 47.58, -122.28), ("Portland", 45.51, -122.66), ("Sacramento", 38.58, -121.49), ("Oakland", 37.81, -122.24),
        ("Fresno", 36.74, -119.78), ("Los Angeles", 34.06, -118.20), ("Las Vegas", 36.17, -115.14), ("Phoenix", 33.45, -112.07),
        ("San Diego", 32.76, -117.12),
    ], roads: &[(0, 1), (1, 2), (2, 3), (2, 4), (3, 4), (4, 5), (5, 6), (6, 7), (5, 7), (7, 8)] },
    Region { name: "peachtree", places: &[
        ("Atlanta", 33.75, -84.39), ("Charlotte", 35.23, -80.84), ("Nashville", 36.16, -86.78), ("Birmingham", 33.52, -86.80),
        ("Savannah", 32.08, -81.30), ("Jacksonville", 30.30, -81.80), ("Orlando", 28.54, -81.38), ("Miami", 25.81, -80.28),
        ("Knoxville", 35.96, -83.92),
    ], roads: &[(0, 1), (0, 2), (0, 3), (2, 3), (0, 4), (4, 5), (5, 6), (6, 7), (2, 8), (8, 0), (8, 1)] },
    Region { name: "anahuac", places: &[
        ("Mexico City", 19.43, -99.13), ("Puebla", 19.04, -98.20), ("Querétaro", 20.59, -100.39), ("San Luis Potosí", 22.15, -100.98),
        ("Monterrey", 25.68, -100.31), ("León", 21.12, -101.68), ("Guadalajara", 20.67, -103.35), ("Xalapa", 19.53, -96.92),
    ], roads: &[(0, 1), (0, 2), (2, 3), (3, 4), (2, 5), (5, 6), (3, 5), (1, 7)] },
    Region { name: "paulista", places: &[
        ("São Paulo", -23.55, -46.63), ("Campinas", -22.91, -47.06), ("Belo Horizonte", -19.92, -43.94), ("Juiz de Fora", -21.76, -43.35),
        ("Curitiba", -25.43, -49.27), ("Londrina", -23.31, -51.16), ("Uberlândia", -18.92, -48.28), ("Goiânia", -16.69, -49.26),
        ("Brasília", -15.79, -47.88),
    ], roads: &[(0, 1), (1, 2), (2, 3), (3, 0), (0, 4), (4, 5), (5, 1), (1, 6), (6, 7), (7, 8), (2, 8)] },
    Region { name: "deccan", places: &[
        ("Delhi", 28.61, 77.21), ("Jaipur", 26.91, 75.79), ("Ahmedabad", 23.03, 72.58), ("Indore", 22.72, 75.86),
        ("Nagpur", 21.15, 79.09), ("Pune", 18.52, 73.86), ("Hyderabad", 17.39, 78.49), ("Bengaluru", 12.97, 77.59),
        ("Chennai", 13.06, 80.21),
    ], roads: &[(0, 1), (1, 2), (2, 3), (1, 3), (3, 4), (3, 5), (4, 6), (5, 6), (5, 7), (6, 7), (7, 8)] },
    Region { name: "yangtze", places: &[
        ("Shanghai", 31.19, 121.40), ("Suzhou", 31.30, 120.60), ("Nanjing", 32.06, 118.80), ("Hefei", 31.82, 117.23),
        ("Wuhan", 30.59, 114.31), ("Zhengzhou", 34.75, 113.63), ("Xuzhou", 34.26, 117.19), ("Jinan", 36.65, 117.12),
        ("Beijing", 39.90, 116.40), ("Shijiazhuang", 38.04, 114.51),
    ], roads: &[(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 6), (2, 6), (6, 7), (7, 8), (8, 9), (9, 5), (7, 9)] },
    Region { name: "tokaido", places: &[
        ("Tokyo", 35.69, 139.69), ("Nagano", 36.65, 138.18), ("Nagoya", 35.18, 136.91), ("Kyoto", 35.01, 135.77),
        ("Osaka", 34.69, 135.50), ("Okayama", 34.67, 133.92), ("Hiroshima", 34.41, 132.48), ("Sendai", 38.27, 140.85),
        ("Utsunomiya", 36.57, 139.88),
    ], roads: &[(0, 1), (1, 2), (2, 3), (3, 4), (3, 5), (5, 6), (0, 8), (8, 7), (8, 1)] },
    Region { name: "southern", places: &[
        ("Sydney", -33.87, 151.10), ("Canberra", -35.28, 149.13), ("Albury", -36.08, 146.92), ("Melbourne", -37.80, 144.95),
        ("Adelaide", -34.92, 138.62), ("Dubbo", -32.25, 148.60), ("Toowoomba", -27.56, 151.95), ("Brisbane", -27.47, 153.00),
        ("Tamworth", -31.09, 150.93),
    ], roads: &[(0, 1), (1, 2), (2, 3), (3, 4), (0, 5), (5, 8), (8, 6), (6, 7), (0, 8), (2, 5)] },
    Region { name: "highveld", places: &[
        ("Johannesburg", -26.20, 28.05), ("Pretoria", -25.75, 28.19), ("Bloemfontein", -29.12, 26.22), ("Durban", -29.85, 30.98),
        ("Kimberley", -28.73, 24.76), ("Polokwane", -23.90, 29.45), ("Beaufort West", -32.35, 22.58), ("Cape Town", -33.93, 18.55),
    ], roads: &[(0, 1), (0, 2), (0, 3), (2, 4), (1, 5), (4, 6), (2, 6), (6, 7), (0, 4)] },
];

#[rustfmt::skip]
pub(super) const LANES: &[Lane] = &[
    Lane { name: "biscay", places: &[
        ("Rotterdam", 51.98, 3.95), ("", 51.30, 2.00), ("", 50.30, -0.40), ("Le Havre", 49.52, 0.05), ("", 50.00, -1.60),
        ("", 48.95, -5.80), ("", 43.70, -9.80), ("", 38.90, -9.80),
        ("Lisbon", 38.58, -9.38), ("", 36.60, -9.10), ("", 35.92, -5.95), ("", 35.93, -5.50), ("Algeciras", 36.08, -5.40),
    ] },
    Lane { name: "balearic", places: &[
        ("Algeciras", 36.08, -5.40), ("", 36.25, -2.20), ("", 37.60, 0.10), ("", 38.70, 0.45), ("Valencia", 39.42, -0.20), ("", 40.30, 1.20),
        ("Barcelona", 41.32, 2.20), ("", 42.60, 6.20), ("Genoa", 44.36, 8.88), ("", 43.70, 9.25), ("", 43.10, 9.72), ("Livorno", 43.55, 10.25),
    ] },
    Lane { name: "baltic", places: &[
        ("Gdańsk", 54.50, 18.98), ("", 55.35, 19.10), ("", 57.20, 19.80), ("", 59.20, 21.60), ("", 59.75, 23.60),
        ("Helsinki", 60.05, 24.95), ("Tallinn", 59.52, 24.75), ("", 59.60, 23.20), ("", 58.80, 21.20), ("Ventspils", 57.42, 21.48),
    ] },
    Lane { name: "malacca", places: &[
        ("Singapore", 1.20, 103.85), ("", 1.35, 104.60), ("", 4.80, 106.50), ("", 9.00, 109.20), ("", 13.00, 110.60),
        ("", 18.50, 113.00), ("Hong Kong", 22.20, 114.20), ("", 22.30, 116.30), ("", 24.30, 119.30), ("", 26.20, 121.30), ("", 29.30, 122.80),
        ("Ningbo", 30.20, 123.00), ("Shanghai", 31.10, 122.30),
    ] },
    Lane { name: "gulf", places: &[
        ("Houston", 29.25, -94.60), ("", 28.30, -93.00), ("New Orleans", 28.85, -89.60), ("", 27.60, -87.00), ("Tampa", 27.55, -82.95),
        ("", 25.00, -83.60), ("", 24.20, -81.60), ("", 24.70, -80.40), ("", 25.30, -80.00), ("Miami", 25.75, -79.98), ("", 28.60, -79.90), ("", 31.00, -80.40), ("Savannah", 31.95, -80.65),
    ] },
    Lane { name: "seto", places: &[
        ("Busan", 35.00, 129.08), ("", 34.30, 128.80), ("", 33.20, 128.45), ("", 32.20, 128.35), ("", 30.95, 130.20), ("", 30.90, 130.75),
        ("", 31.30, 131.80), ("", 32.50, 132.90), ("", 33.00, 134.60), ("", 33.25, 136.00), ("", 34.10, 137.60), ("", 34.50, 139.10), ("", 34.85, 139.28),
        ("", 34.95, 139.69), ("Yokohama", 35.25, 139.78),
    ] },
];
