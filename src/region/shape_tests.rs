//! Bad shapes are refused by name; good ones are exact at the edge, the antimeridian and the poles.

use super::*;

fn parse(json: &str) -> Result<Shape, InvalidShape> {
    Shape::parse(&serde_json::from_str(json).unwrap(), ShapeLimits::default())
}

#[track_caller]
fn refused(json: &str, why: &str) {
    let error = parse(json).unwrap_err().to_string();
    assert!(error.contains(why), "{json}: {error}");
}

/// `inside` and `outside` are `(lon, lat)`.
#[track_caller]
fn check(json: &str, inside: &[(f64, f64)], outside: &[(f64, f64)]) {
    let shape = parse(json).unwrap_or_else(|error| panic!("{json}: {error}"));
    for (places, expected) in [(inside, true), (outside, false)] {
        for &(lon, lat) in places {
            assert_eq!(shape.contains(Position { lat, lon }), expected, "{json}: lon {lon}, lat {lat}");
        }
    }
}

#[test]
fn exactly_one_shape_must_be_named() {
    refused("{}", "name the shape");
    refused(r#"{"bbox":[0,0,1,1],"geohash":["u"]}"#, "one shape only");
}

#[test]
fn bad_boxes_are_refused_by_name() {
    refused(r#"{"bbox":[0,0,1]}"#, "3 numbers");
    refused(r#"{"bbox":[0,0,1,1,1]}"#, "5 numbers");
    refused(r#"{"bbox":[null,0,1,1]}"#, "bbox west is not a finite number");
    refused(r#"{"bbox":[0,0,1,91]}"#, "bbox north 91 is outside -90 to 90");
    refused(r#"{"bbox":[0,-90.5,1,1]}"#, "bbox south -90.5");
    refused(r#"{"bbox":[-180.1,0,1,1]}"#, "bbox west -180.1 is outside -180 to 180");
    refused(r#"{"bbox":[0,0,1e308,1]}"#, "bbox east");
    refused(r#"{"bbox":[0,2,1,1]}"#, "bbox south 2 is above north 1");
    refused(r#"{"bbox":[0,1,1,1]}"#, "no area");
    refused(r#"{"bbox":[1,0,1,1]}"#, "no area");
    refused(r#"{"bbox":[180,0,-180,1]}"#, "no area");
}

#[test]
fn bad_circles_are_refused_by_name() {
    refused(r#"{"circle":{"lon":0,"lat":91,"radius_m":5}}"#, "circle lat 91");
    refused(r#"{"circle":{"lon":181,"lat":0,"radius_m":5}}"#, "circle lon 181");
    refused(r#"{"circle":{"lon":0,"lat":0,"radius_m":0}}"#, "radius_m 0");
    refused(r#"{"circle":{"lon":0,"lat":0,"radius_m":-1}}"#, "radius_m -1");
    refused(r#"{"circle":{"lon":0,"lat":0,"radius_m":null}}"#, "radius_m is not a finite");
    refused(r#"{"circle":{"lon":0,"lat":0,"radius_m":20037509}}"#, "radius_m 20037509");
}

#[test]
fn bad_geohashes_are_refused_by_name() {
    refused(r#"{"geohash":[]}"#, "no cell");
    refused(r#"{"geohash":["u3",""]}"#, "geohash[1] has 0 characters");
    refused(r#"{"geohash":["u33dbu33dbu33"]}"#, "13 characters");
    refused(r#"{"geohash":["u3a"]}"#, "geohash[0] holds a character");
    refused(r#"{"geohash":["é"]}"#, "geohash[0] holds a character");
    let many = serde_json::to_string(&vec!["u33"; 257]).unwrap();
    refused(&format!(r#"{{"geohash":{many}}}"#), "257 cells, at most 256");
}

#[test]
fn bad_polygons_are_refused_by_name() {
    refused(r#"{"polygon":[]}"#, "0 different vertices");
    refused(r#"{"polygon":[[0,0],[1,1],[0,0]]}"#, "2 different vertices");
    refused(r#"{"polygon":[[0,0],[0,0],[1,1],[1,1]]}"#, "2 different vertices");
    refused(r#"{"polygon":[[0,0],[1,1],[2,2],[3,3]]}"#, "no area");
    refused(r#"{"polygon":[[0,0],[1,1],[0,91]]}"#, "polygon[2] latitude 91");
    refused(r#"{"polygon":[[0,0],[181,1],[0,1]]}"#, "polygon[1] longitude 181");
    refused(r#"{"polygon":[[0,0],[1,null],[0,1]]}"#, "polygon[1] latitude is not a finite");
    // Bow tie, spike, a vertex on another edge, one vertex twice.
    refused(r#"{"polygon":[[0,0],[10,10],[10,0],[0,10]]}"#, "edges 0 and 2 meet");
    refused(r#"{"polygon":[[0,0],[10,0],[5,0],[5,5]]}"#, "meet");
    refused(r#"{"polygon":[[0,0],[10,0],[10,10],[5,0],[0,10]]}"#, "meet");
    refused(r#"{"polygon":[[0,0],[4,0],[2,2],[4,4],[0,4],[2,2]]}"#, "meet");
    // The same bow tie across the antimeridian, and around a pole.
    refused(r#"{"polygon":[[175,0],[-175,10],[-175,0],[175,10]]}"#, "edges 0 and 2 meet");
    refused(r#"{"polygon":[[-120,80],[0,80],[120,80],[130,85],[100,75]]}"#, "meet");
    refused(r#"{"polygon":[[-120,0],[0,0],[120,0]]}"#, "a pole on both sides");
    // The four corners of the world: each edge goes the short way, which is no way at all.
    refused(r#"{"polygon":[[-180,-90],[180,-90],[180,90],[-180,90]]}"#, "2 different vertices");
}

#[test]
fn ten_thousand_vertices_are_refused_before_any_geometry() {
    let ring = |count: usize| {
        let vertex = |i: usize| {
            let angle = std::f64::consts::TAU * i as f64 / count as f64;
            LonLat(Degrees(angle.cos()), Degrees(angle.sin()))
        };
        ShapeSpec { polygon: Some((0..count).map(vertex).collect()), ..ShapeSpec::default() }
    };
    let parse = |count| Shape::parse(&ring(count), ShapeLimits::default());
    assert!(parse(1000).is_ok());
    assert_eq!(parse(10_000), Err(InvalidShape::TooManyVertices(10_000, 1000)));
    // The count is what is seen first: not one vertex is looked at.
    let off_the_earth = vec![LonLat(Degrees(f64::NAN), Degrees(91.0)); 10_000];
    let spec = ShapeSpec { polygon: Some(off_the_earth), ..ShapeSpec::default() };
    assert_eq!(Shape::parse(&spec, ShapeLimits::default()), Err(InvalidShape::TooManyVertices(10_000, 1000)));
}

#[test]
fn a_box_holds_its_edges() {
    check(
        r#"{"bbox":[10,20,30,40]}"#,
        &[(10.0, 20.0), (30.0, 40.0), (10.0, 30.0), (20.0, 40.0), (20.0, 30.0)],
        &[
            (9.999_999_999, 30.0),
            (30.000_000_001, 30.0),
            (20.0, 19.999_999_999),
            (20.0, 40.000_000_001),
            (-170.0, 30.0),
        ],
    );
}

#[test]
fn a_box_goes_across_the_antimeridian_when_west_is_east_of_east() {
    let inside = [(170.0, 0.0), (179.0, 5.0), (180.0, 0.0), (-180.0, 0.0), (-175.0, -5.0), (-170.0, 0.0)];
    check(r#"{"bbox":[170,-10,-170,10]}"#, &inside, &[(0.0, 0.0), (169.9, 0.0), (-169.9, 0.0)]);
    // To the antimeridian from either side: both ways to write it are on the edge.
    check(r#"{"bbox":[170,-10,180,10]}"#, &[(180.0, 0.0), (-180.0, 0.0)], &[(-179.9, 0.0)]);
    check(r#"{"bbox":[-180,-10,-170,10]}"#, &[(180.0, 0.0), (-180.0, 0.0)], &[(179.9, 0.0)]);
    check(r#"{"bbox":[180,-10,-170,10]}"#, &[(180.0, 0.0), (-180.0, 0.0), (-175.0, 0.0)], &[(179.9, 0.0)]);
}

#[test]
fn a_box_to_the_pole_holds_the_pole_at_every_longitude() {
    check(
        r#"{"bbox":[10,80,20,90]}"#,
        &[(15.0, 90.0), (-100.0, 90.0), (180.0, 90.0), (15.0, 89.9)],
        &[(-100.0, 89.9), (15.0, -90.0)],
    );
    check(r#"{"bbox":[170,-90,-170,-80]}"#, &[(0.0, -90.0)], &[(0.0, -89.9), (0.0, 90.0)]);
}

#[test]
fn the_whole_world_holds_everything_and_nothing_else() {
    let everywhere = [(0.0, 0.0), (180.0, 90.0), (-180.0, -90.0), (-180.0, 0.0), (180.0, 0.0), (33.0, 90.0)];
    let nowhere = [(0.0, 90.5), (181.0, 0.0), (f64::NAN, 0.0), (0.0, f64::NAN), (f64::INFINITY, 0.0)];
    for world in [
        r#"{"bbox":[-180,-90,180,90]}"#,
        r#"{"circle":{"lon":10,"lat":50,"radius_m":20037508}}"#,
        r#"{"polygon":[[-180,-90],[-90,-90],[0,-90],[90,-90],[180,-90],[180,90],[90,90],[0,90],[-90,90],[-180,90]]}"#,
        r#"{"geohash":["0","1","2","3","4","5","6","7","8","9","b","c","d","e","f","g","h","j","k","m","n","p","q","r","s","t","u","v","w","x","y","z"]}"#,
    ] {
        check(world, &everywhere, &nowhere);
    }
}

#[test]
fn a_polygon_holds_its_edges_and_vertices_closed_or_not() {
    let inside = [(0.0, 0.0), (10.0, 0.0), (5.0, 0.0), (5.0, 5.0), (2.5, 5.0), (5.0, 10.0)];
    let outside = [(5.0, -1e-9), (2.499_999_9, 5.0), (7.500_000_1, 5.0), (5.0, 10.000_000_1), (-170.0, 5.0)];
    check(r#"{"polygon":[[0,0],[10,0],[5,10]]}"#, &inside, &outside);
    check(r#"{"polygon":[[0,0],[10,0],[5,10],[0,0]]}"#, &inside, &outside);
    check(r#"{"polygon":[[5,10],[5,10],[10,0],[0,0]]}"#, &inside, &outside);
    // Straight on through a vertex is no spike.
    check(r#"{"polygon":[[0,0],[5,0],[10,0],[5,10]]}"#, &inside, &outside);
}

#[test]
fn a_concave_polygon_leaves_its_bay_out() {
    check(
        r#"{"polygon":[[0,0],[10,0],[10,10],[8,10],[8,2],[2,2],[2,10],[0,10]]}"#,
        &[(1.0, 9.0), (9.0, 9.0), (5.0, 1.0), (5.0, 2.0)],
        &[(5.0, 2.000_001), (5.0, 9.0)],
    );
}

#[test]
fn a_polygon_goes_across_the_antimeridian_the_short_way() {
    let inside = [
        (170.0, -10.0),
        (175.0, 0.0),
        (180.0, 0.0),
        (-180.0, 0.0),
        (-170.0, 10.0),
        (-175.3, 3.3),
        (180.0, 10.0),
    ];
    let outside = [(0.0, 0.0), (169.9, 0.0), (-169.9, 0.0), (180.0, 10.1)];
    check(r#"{"polygon":[[170,-10],[-170,-10],[-170,10],[170,10]]}"#, &inside, &outside);
    check(r#"{"polygon":[[-170,10],[-170,-10],[170,-10],[170,10],[-170,10]]}"#, &inside, &outside);
    // With the vertices on the antimeridian that a careful author adds, in both spellings.
    check(
        r#"{"polygon":[[170,-10],[180,-10],[-180,-10],[-170,-10],[-170,10],[-180,10],[170,10]]}"#,
        &inside,
        &outside,
    );
    // A vertex far from exact binary fractions is on the edge from both sides.
    check(
        r#"{"polygon":[[179.9,0.1],[-179.9,0.1],[-179.7,0.3]]}"#,
        &[(-179.9, 0.1), (179.9, 0.1), (-179.7, 0.3)],
        &[],
    );
    // An edge along the antimeridian.
    check(
        r#"{"polygon":[[170,0],[180,0],[180,10],[170,10]]}"#,
        &[(-180.0, 5.0), (180.0, 5.0)],
        &[(-179.9, 5.0)],
    );
}

#[test]
fn a_polygon_around_the_earth_holds_the_pole_on_its_smaller_side() {
    let north = [(0.0, 90.0), (77.0, 90.0), (60.0, 85.0), (-120.0, 80.0), (-179.0, 81.0), (180.0, 81.0)];
    for ring in
        ["[[-120,80],[0,80],[120,80]]", "[[120,80],[0,80],[-120,80]]", "[[0,80],[120,80],[-120,80],[0,80]]"]
    {
        check(&format!(r#"{{"polygon":{ring}}}"#), &north, &[(0.0, 79.9), (0.0, -90.0), (50.0, -85.0)]);
    }
    check(
        r#"{"polygon":[[-120,-70],[0,-60],[120,-70]]}"#,
        &[(0.0, -90.0), (0.0, -60.0), (180.0, -80.0), (-120.0, -70.0)],
        &[(0.0, -59.9), (180.0, -60.0), (0.0, 90.0)],
    );
    // Wider than the earth: the ring runs past its own start at another latitude, and back.
    check(
        r#"{"polygon":[[0,60],[120,60],[-120,60],[30,75],[20,65]]}"#,
        &[(10.0, 80.0), (10.0, 61.0), (0.0, 90.0), (90.0, 60.0)],
        &[(10.0, 65.0), (10.0, 59.0), (0.0, 0.0)],
    );
}

#[test]
fn a_spiral_may_overlap_its_own_longitudes() {
    let spiral =
        r#"{"polygon":[[0,0],[120,0],[-120,0],[0,10],[120,10],[120,20],[0,20],[-120,10],[120,5],[0,5]]}"#;
    check(spiral, &[(60.0, 2.0), (60.0, 15.0), (-60.0, 8.0)], &[(60.0, 7.0), (-60.0, 20.0)]);
    refused(
        r#"{"polygon":[[0,0],[120,0],[-120,0],[0,4],[120,4],[120,20],[0,20],[-120,10],[120,5],[0,5]]}"#,
        "meet",
    );
}

#[test]
fn a_circle_is_a_great_circle_distance() {
    // One degree of the mean sphere is 111,195.08 m in any direction.
    check(
        r#"{"circle":{"lon":0,"lat":0,"radius_m":111196}}"#,
        &[(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.7, 0.7)],
        &[(1.000_1, 0.0), (0.0, -1.000_1), (0.72, 0.72)],
    );
    check(
        r#"{"circle":{"lon":180,"lat":0,"radius_m":111196}}"#,
        &[(-179.0, 0.0), (179.0, 0.0), (180.0, 0.0), (-180.0, 1.0)],
        &[(178.99, 0.0), (-178.99, 0.0), (0.0, 0.0)],
    );
    // Over the pole: the far side is a few degrees away.
    check(
        r#"{"circle":{"lon":10,"lat":89,"radius_m":222391}}"#,
        &[(10.0, 90.0), (-170.0, 89.0), (100.0, 90.0), (10.0, 87.0), (100.0, 88.9)],
        &[(-170.0, 88.9), (10.0, 86.9), (0.0, -90.0)],
    );
    // The antipode and nearly the whole earth.
    check(
        r#"{"circle":{"lon":0,"lat":0,"radius_m":20015000}}"#,
        &[(179.9, 0.0)],
        &[(180.0, 0.0), (-180.0, 0.0)],
    );
}

#[test]
fn a_circle_holds_its_edge() {
    let centre = (13.4, 52.5);
    let place = (13.5, 52.6);
    let radius_m = Haversine.distance(Point::from(centre), Point::from(place));
    let circle = |radius_m| Circle { lon: centre.0, lat: centre.1, radius_m };
    assert!(circle(radius_m).contains(place.0, place.1));
    assert!(!circle(radius_m.next_down()).contains(place.0, place.1));
}

#[test]
fn geohash_cells_hold_what_their_geohash_encodes() {
    // u33d is around Berlin: longitude 13.359375 to 13.7109375, latitude 52.3828125 to 52.55859375.
    check(
        r#"{"geohash":["u33d"]}"#,
        &[(13.4, 52.5), (13.359_375, 52.382_812_5), (13.710_937_5, 52.558_593_75)],
        &[(13.359_374_9, 52.5), (13.4, 52.558_593_8)],
    );
    // Neighbours leave no gap between them, and a cell at the antimeridian holds it in both spellings.
    check(r#"{"geohash":["u33d","u33e","u33d"]}"#, &[(13.5, 52.558_593_75)], &[]);
    check(r#"{"geohash":["x"]}"#, &[(180.0, 10.0), (-180.0, 10.0)], &[(-179.9, 10.0)]);
    check(r#"{"geohash":["zzzzzzzzzzzz"]}"#, &[(180.0, 90.0), (12.0, 90.0)], &[(179.9, 89.9)]);
    check(r#"{"geohash":["000000000000"]}"#, &[(-180.0, -90.0), (180.0, -90.0)], &[(0.0, 0.0)]);
}
