/// <reference types="vite/client" />
declare module '*.geojson?url' {
  const url: string;
  export default url;
}
declare module 'virtual:map-worker-url' {
  const url: string;
  export default url;
}
