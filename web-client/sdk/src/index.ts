export {
  type ConnectionState,
  type ConnectOptions,
  connect,
  Fleetcast,
  FleetSubscription,
  type RegionOptions,
  RegionSubscription,
  RequestError,
  type SubscribeOptions,
  type TokenSource,
} from './client';
export type * from './protocol';
export { AssetSet, assetKey, type Change, type SubscriptionState } from './subscription';
