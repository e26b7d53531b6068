// The events of the gateway that are not in the legacy contract, as types.
// Made from src/protocol/ by `make bless`; do not edit.

/**
 * The newest known state of one tracked vehicle or container.
 */
export type Asset = { 
/**
 * Unique within its fleet.
 */
id: string, 
/**
 * Whose it is.
 */
fleet: string, 
/**
 * Epoch milliseconds, as the source said.
 */
ts: number, 
/**
 * Degrees north; only together with `lon`.
 */
lat?: number, 
/**
 * Degrees east.
 */
lon?: number, 
/**
 * The source's own fields, newest value of each.
 */
data: Record<string, unknown>, };

/**
 * Names an asset that left.
 */
export type AssetRef = { 
/**
 * Unique within its fleet.
 */
id: string, 
/**
 * Whose it is.
 */
fleet: string, };

/**
 * Why a request was refused.
 */
export type ErrorCode = "bad_request" | "forbidden" | "too_many" | "too_large" | "unavailable";

/**
 * A refused request.
 */
export type ProtocolError = { 
/**
 * What to do about it.
 */
code: ErrorCode, 
/**
 * What is wrong, by name.
 */
message: string, };

/**
 * How a fleet's updates are sent.
 */
export type FleetMode = "latest" | "each";

/**
 * `fleet_subscribe`.
 */
export type FleetSubscribe = { 
/**
 * Which fleet.
 */
fleet: string, 
/**
 * `latest` by default.
 */
mode?: FleetMode, 
/**
 * From 50 to 10,000, 250 by default.
 */
interval_ms?: number, 
/**
 * A cursor: only what changed after it is sent.
 */
since?: string, };

/**
 * `fleet_unsubscribe`.
 */
export type FleetUnsubscribe = { 
/**
 * Which fleet.
 */
fleet: string, };

/**
 * Acknowledges `fleet_subscribe`.
 */
export type FleetSubscribed = { 
/**
 * Which fleet.
 */
fleet: string, 
/**
 * What the viewer is complete up to, if it is.
 */
cursor: string | null, 
/**
 * Whether only what changed since the cursor follows.
 */
resumed: boolean, };

/**
 * A region's shape: one of four.
 */
export type Shape = { bbox: Bbox, } | { polygon: Array<[number, number]>, } | { circle: Circle, } | { geohash: Array<string>, };

/**
 * `[west, south, east, north]` in degrees; west > east crosses the antimeridian.
 */
export type Bbox = [number, number, number, number];

/**
 * What is within a distance along the ground.
 */
export type Circle = { lon: number, lat: number, radius_m: number, };

/**
 * `region_subscribe`; its shape is beside these members.
 */
export type RegionMembers = { 
/**
 * The region's name on this connection. The same name again moves the region.
 */
region: string, 
/**
 * From 50 to 10,000, 250 by default.
 */
interval_ms?: number, 
/**
 * Only assets of these fleets.
 */
fleets?: Array<string>, };

/**
 * `region_unsubscribe`.
 */
export type RegionUnsubscribe = { 
/**
 * The region's name.
 */
region: string, };

/**
 * Acknowledges `region_subscribe`.
 */
export type RegionSubscribed = { 
/**
 * The region's name.
 */
region: string, 
/**
 * Whether it was moved, so that the difference follows.
 */
resumed: boolean, };

/**
 * `asset_history`.
 */
export type AssetHistory = { 
/**
 * Which asset.
 */
asset: string, 
/**
 * Whose; ids are unique within a fleet only.
 */
fleet?: string, 
/**
 * Nothing before this time, epoch milliseconds.
 */
from_ts?: number, 
/**
 * At most so many points, the newest; from 1 to 10,000.
 */
limit?: number, };

/**
 * Acknowledges `asset_history`.
 */
export type Track = { 
/**
 * Whose asset it is, if there is one.
 */
fleet?: string, 
/**
 * Newest last.
 */
track: Array<TrackPoint>, };

/**
 * Where an asset was at one time.
 */
export type TrackPoint = { 
/**
 * Epoch milliseconds.
 */
ts: number, 
/**
 * Degrees north.
 */
lat: number, 
/**
 * Degrees east.
 */
lon: number, };

/**
 * Acknowledges `fleets`.
 */
export type Fleets = { 
/**
 * Those that the viewer may see.
 */
fleets: Array<FleetSummary>, };

/**
 * A fleet in a list.
 */
export type FleetSummary = { 
/**
 * Which fleet.
 */
fleet: string, 
/**
 * How many assets it has.
 */
assets: number, };

/**
 * `auth_refresh`.
 */
export type AuthRefresh = { 
/**
 * A new token of the same subject.
 */
token: string, };

/**
 * Acknowledges `auth_refresh`.
 */
export type AuthRefreshed = { 
/**
 * How long the new token lasts, if not for ever.
 */
expires_in_ms: number | null, };

/**
 * `fleet_snapshot`: the newest state of a fleet, in parts of at most 16 KiB.
 */
export type FleetSnapshot = { 
/**
 * Which fleet.
 */
fleet: string, 
/**
 * To come back with, once all parts are here.
 */
cursor: string, 
/**
 * From 1.
 */
part: number, 
/**
 * How many there are.
 */
parts: number, 
/**
 * The assets of this part.
 */
assets: Array<Asset>, };

/**
 * `fleet_updates`: each changed asset once, newest state.
 */
export type FleetUpdates = { 
/**
 * Which fleet.
 */
fleet: string, 
/**
 * To come back with.
 */
cursor: string, 
/**
 * What changed.
 */
assets: Array<Asset>, };

/**
 * `region_snapshot`: the newest state of what is in a region, in parts of at most 16 KiB.
 */
export type RegionSnapshot = { 
/**
 * The region's name.
 */
region: string, 
/**
 * From 1.
 */
part: number, 
/**
 * How many there are.
 */
parts: number, 
/**
 * The assets of this part.
 */
assets: Array<Asset>, };

/**
 * `region_updates`: the difference to what was sent before.
 */
export type RegionUpdates = { 
/**
 * The region's name.
 */
region: string, 
/**
 * Came into the region.
 */
entered: Array<Asset>, 
/**
 * Changed in the region.
 */
moved: Array<Asset>, 
/**
 * Are not in the region any more.
 */
left: Array<AssetRef>, };

/**
 * `resync` of a fleet or a region: a fresh snapshot follows.
 */
export type Resync = { 
/**
 * Which fleet.
 */
fleet?: string, 
/**
 * The region's name.
 */
region?: string, 
/**
 * Why.
 */
reason: ResyncReason, };

/**
 * Why single updates were not to be had.
 */
export type ResyncReason = "slow" | "gap" | "failover";

/**
 * `auth_expiring`: answer with `auth_refresh`, or the connection ends.
 */
export type AuthExpiring = { 
/**
 * When the token ends.
 */
in_ms: number, };

export type RegionSubscribe = Shape & RegionMembers;

export type Ack<T = object> = ({ ok: true } & T) | { ok: false; error: ProtocolError };
