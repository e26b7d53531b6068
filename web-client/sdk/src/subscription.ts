// One subscription: the newest state of the assets of a fleet or a region.
// Invariant: an asset's `ts` never goes back, and after a complete snapshot the map holds
// exactly what the gateway says, whatever was missed before.

import type { Asset, AssetRef, ProtocolError, Resync } from './protocol';

/** What one event did to the map of assets. `assets` has it applied already. */
export interface Change {
  /** Assets that were not in the map before. */
  entered: Asset[];
  /** Assets whose state is newer than before. */
  updated: Asset[];
  left: AssetRef[];
}

export type SubscriptionState =
  /** Not acknowledged yet, or the connection is down. */
  | { kind: 'waiting' }
  /** Acknowledged; parts of the snapshot are coming. */
  | { kind: 'loading'; part: number; parts: number }
  | { kind: 'live' }
  | { kind: 'failed'; error: ProtocolError };

type ChangeListener = (change: Change) => void;
type StateListener = (state: SubscriptionState) => void;
type ResyncListener = (reason: Resync['reason']) => void;

export const assetKey = (asset: AssetRef): string => `${asset.fleet}/${asset.id}`;

export class AssetSet {
  readonly #assets = new Map<string, Asset>();
  readonly #changeListeners = new Set<ChangeListener>();
  readonly #stateListeners = new Set<StateListener>();
  readonly #resyncListeners = new Set<ResyncListener>();
  #state: SubscriptionState = { kind: 'waiting' };
  /** Keys named by the snapshot under way; null while none replaces the map. */
  #named: Set<string> | null = null;
  #partsSeen = 0;

  get assets(): ReadonlyMap<string, Asset> {
    return this.#assets;
  }

  get state(): SubscriptionState {
    return this.#state;
  }

  /** Calls back after every change; returns the function that stops it. */
  onChange(listener: ChangeListener): () => void {
    this.#changeListeners.add(listener);
    return () => this.#changeListeners.delete(listener);
  }

  onState(listener: StateListener): () => void {
    this.#stateListeners.add(listener);
    return () => this.#stateListeners.delete(listener);
  }

  /** The gateway found that this viewer missed something; a fresh snapshot follows by itself. */
  onResync(listener: ResyncListener): () => void {
    this.#resyncListeners.add(listener);
    return () => this.#resyncListeners.delete(listener);
  }

  /** The gateway promised a complete snapshot: what it does not name will leave the map. */
  expectSnapshot(): void {
    this.#named = new Set();
    this.#partsSeen = 0;
    this.setState({ kind: 'loading', part: 0, parts: 0 });
  }

  /** The gateway promised only what changed: the map is whole already, if behind. */
  expectDifference(): void {
    this.#named = null;
    this.#partsSeen = 0;
    this.setState({ kind: 'live' });
  }

  snapshotPart(parts: number, assets: Asset[]): void {
    this.#partsSeen += 1;
    for (const asset of assets) this.#named?.add(assetKey(asset));
    const complete = this.#partsSeen >= parts;
    this.#apply(assets, complete ? this.#unnamed() : []);
    if (complete) {
      this.expectDifference();
    } else if (this.#named) {
      this.setState({ kind: 'loading', part: this.#partsSeen, parts });
    }
  }

  update(assets: Asset[], left: AssetRef[] = []): void {
    // An update that overtakes the rest of a snapshot must not be swept away at its end.
    for (const asset of assets) this.#named?.add(assetKey(asset));
    this.#apply(assets, left);
  }

  resync(reason: Resync['reason']): void {
    for (const listener of this.#resyncListeners) listener(reason);
    this.expectSnapshot();
  }

  setState(state: SubscriptionState): void {
    this.#state = state;
    for (const listener of this.#stateListeners) listener(state);
  }

  #unnamed(): AssetRef[] {
    const named = this.#named;
    if (!named) return [];
    const gone: AssetRef[] = [];
    for (const [key, asset] of this.#assets) if (!named.has(key)) gone.push(asset);
    return gone;
  }

  #apply(assets: Asset[], leaving: AssetRef[]): void {
    const change: Change = { entered: [], updated: [], left: [] };
    for (const asset of assets) {
      const key = assetKey(asset);
      const known = this.#assets.get(key);
      if (known && asset.ts < known.ts) continue;
      this.#assets.set(key, asset);
      (known ? change.updated : change.entered).push(asset);
    }
    for (const { id, fleet } of leaving) {
      if (this.#assets.delete(assetKey({ id, fleet }))) change.left.push({ id, fleet });
    }
    if (change.entered.length + change.updated.length + change.left.length === 0) return;
    for (const listener of this.#changeListeners) listener(change);
  }
}
