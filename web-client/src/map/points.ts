// Draws every asset as one `gl.POINTS` call on a canvas of its own above the map.
// Invariant: the vertex buffer is the store's own memory, of which the rows that changed are sent.
//
// Points and not instanced quads: software renderers pay tens of microseconds per instance.

import { type FleetStore, LOOK_HEADING_SHIFT, STRIDE_WORDS } from '../fleet/store';
import type { Camera } from './mercator';
import { Thinner } from './thin';

export interface PointColors {
  /** RGB of moving, stopped, stale and offline, 0 to 1. */
  states: [Rgb, Rgb, Rgb, Rgb];
  outline: Rgb;
  alert: Rgb;
}

export type Rgb = [number, number, number];

export interface PointStyle {
  /** Diameter in CSS pixels. */
  size: number;
  arrows: boolean;
  opacity: number;
  colors: PointColors;
}

const VERTEX = `#version 300 es
precision highp float;
precision highp int;
layout(location = 0) in uvec2 a_from;
layout(location = 1) in uvec2 a_to;
layout(location = 2) in vec2 a_time;
layout(location = 3) in uint a_look;
uniform uvec2 u_center;
uniform vec2 u_scale;
uniform float u_now;
uniform float u_size;
uniform float u_arrows;
flat out uint v_state;
flat out vec2 v_turn;
flat out float v_alert;
flat out float v_size;
void main() {
  uint state = a_look & 3u;
  v_state = state;
  v_alert = float((a_look >> 3) & 1u);
  if ((a_look & 16u) == 0u || (a_look & 4u) != 0u) {
    gl_Position = vec4(2.0, 2.0, 2.0, 1.0);
    gl_PointSize = 0.0;
    return;
  }
  float t = a_time.y <= 0.0 ? 1.0 : clamp((u_now - a_time.x) / a_time.y, 0.0, 1.0);
  // Integer differences: exact to a centimetre, and the antimeridian wraps by itself.
  vec2 way = vec2(ivec2(a_to - a_from)) * t;
  vec2 offset = vec2(ivec2(a_from - u_center)) + way;
  gl_Position = vec4(offset.x * u_scale.x, -offset.y * u_scale.y, 0.0, 1.0);
  uint heading = (a_look >> ${LOOK_HEADING_SHIFT}) & 511u;
  bool arrow = u_arrows > 0.5 && state == 0u && heading < 360u;
  float angle = float(heading) * 0.017453292519943295;
  v_turn = arrow ? vec2(cos(angle), sin(angle)) : vec2(0.0);
  v_size = u_size * (arrow ? 1.9 : state == 3u ? 0.8 : 1.0) * (v_alert > 0.5 ? 1.3 : 1.0);
  gl_PointSize = v_size;
}`;

const FRAGMENT = `#version 300 es
precision highp float;
precision highp int;
flat in uint v_state;
flat in vec2 v_turn;
flat in float v_alert;
flat in float v_size;
uniform vec3 u_colors[4];
uniform vec3 u_outline;
uniform vec3 u_alert_color;
uniform float u_opacity;
out vec4 color;
float box(vec2 p, float half_side) {
  vec2 q = abs(p) - half_side;
  return max(q.x, q.y);
}
void main() {
  // Pixels from the middle of the point, y up.
  vec2 p = (gl_PointCoord - 0.5) * vec2(v_size, -v_size);
  float radius = v_size * 0.5 - 0.5;
  vec3 fill = u_colors[v_state];
  if (v_size < 4.5) {
    color = vec4(mix(fill, u_alert_color, v_alert), 1.0) * u_opacity;
    return;
  }
  float ring = v_alert > 0.5 ? max(1.5, radius * 0.22) : 0.0;
  float body = radius - ring * 1.4;
  float edge;
  if (v_turn != vec2(0.0)) {
    vec2 q = vec2(p.x * v_turn.x - p.y * v_turn.y, p.x * v_turn.y + p.y * v_turn.x);
    float side = (abs(q.x) * 0.9 + q.y * 0.42) - body * 0.42;
    float notch = -(q.y + body * 0.62) + (body * 0.34 - abs(q.x) * 0.5);
    edge = max(side, notch);
  } else if (v_state == 1u) {
    edge = box(p, body * 0.76);
  } else if (v_state == 2u) {
    edge = (abs(p.x) + abs(p.y)) * 0.7071 - body * 0.74;
  } else {
    edge = length(p) - body;
  }
  float outline_width = clamp(v_size * 0.11, 0.9, 2.0);
  vec3 shade = fill;
  // Stale and offline are hollow: the state is told by shape as well as by colour.
  float hollow = v_state >= 2u ? smoothstep(-outline_width - 1.6, -outline_width - 0.6, edge) : 1.0;
  float inner = smoothstep(-outline_width - 0.5, -outline_width + 0.5, edge);
  shade = v_state >= 2u ? mix(u_outline, fill, hollow) : mix(fill, u_outline, inner);
  float alpha = 1.0 - smoothstep(-0.5, 0.5, edge);
  if (v_state == 3u) alpha *= 0.85;
  if (ring > 0.0) {
    float halo = 1.0 - smoothstep(0.0, 1.0, abs(length(p) - (radius - ring * 0.5)) - ring * 0.5);
    shade = mix(u_alert_color, shade, alpha);
    alpha = max(alpha, halo);
  }
  color = vec4(shade, 1.0) * alpha * u_opacity;
}`;

/** Capacity of the GPU buffer grows by doubling, so a growing fleet is not uploaded twice a row. */
const ROWS_MIN = 1024;

export class PointsLayer {
  readonly canvas: HTMLCanvasElement;
  readonly #store: FleetStore;
  #gl: WebGL2RenderingContext | null = null;
  #uniforms: Record<string, WebGLUniformLocation | null> = {};
  #buffer: WebGLBuffer | null = null;
  #capacity = 0;
  readonly #thinner = new Thinner();

  constructor(canvas: HTMLCanvasElement, store: FleetStore) {
    this.canvas = canvas;
    this.#store = store;
    canvas.addEventListener('webglcontextlost', (event) => {
      event.preventDefault();
      this.#gl = null;
    });
    canvas.addEventListener('webglcontextrestored', () => this.#prepare());
    this.#prepare();
  }

  /** False where the browser gives no WebGL 2; the list still works. */
  get works(): boolean {
    return this.#gl !== null;
  }

  /** `thin`: a pass over all rows is cheaper here than the points that it leaves out. */
  draw(view: Camera, style: PointStyle, nowMs: number, thin: boolean): void {
    const gl = this.#gl;
    if (!gl) return;
    const ratio = Math.min(2, globalThis.devicePixelRatio || 1);
    this.#resize(view, ratio);
    gl.viewport(0, 0, this.canvas.width, this.canvas.height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
    this.#upload(gl);
    if (this.#store.size === 0) return;
    const u = this.#uniforms;
    gl.uniform2ui(u.u_center!, view.x, view.y);
    gl.uniform2f(u.u_scale!, (2 * view.scale) / view.width, (2 * view.scale) / view.height);
    gl.uniform1f(u.u_now!, nowMs);
    gl.uniform1f(u.u_size!, style.size * ratio);
    gl.uniform1f(u.u_arrows!, style.arrows ? 1 : 0);
    gl.uniform1f(u.u_opacity!, style.opacity);
    gl.uniform3fv(u.u_colors!, style.colors.states.flat());
    gl.uniform3fv(u.u_outline!, style.colors.outline);
    gl.uniform3fv(u.u_alert_color!, style.colors.alert);
    if (!thin) {
      gl.drawArrays(gl.POINTS, 0, this.#store.size);
      return;
    }
    const rows = this.#thinner.rows(this.#store, view, nowMs);
    gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, rows, gl.STREAM_DRAW);
    gl.drawElements(gl.POINTS, rows.length, gl.UNSIGNED_INT, 0);
  }

  /** Draws nothing: for zooms where counts stand in for the points. */
  clear(): void {
    const gl = this.#gl;
    if (!gl) return;
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
  }

  /** A token for `finished`: how long the GPU, or its software stand-in, really takes. */
  fence(): WebGLSync | null {
    const gl = this.#gl;
    if (!gl) return null;
    const sync = gl.fenceSync(gl.SYNC_GPU_COMMANDS_COMPLETE, 0);
    gl.flush();
    return sync;
  }

  finished(sync: WebGLSync): boolean {
    const gl = this.#gl;
    if (!gl) return true;
    if (gl.getSyncParameter(sync, gl.SYNC_STATUS) !== gl.SIGNALED) return false;
    gl.deleteSync(sync);
    return true;
  }

  #resize(view: Camera, ratio: number): void {
    const width = Math.round(view.width * ratio);
    const height = Math.round(view.height * ratio);
    if (this.canvas.width !== width) this.canvas.width = width;
    if (this.canvas.height !== height) this.canvas.height = height;
  }

  /** Sends the rows that changed, or all of them when the buffer is new. */
  #upload(gl: WebGL2RenderingContext): void {
    const { size, words, dirty } = this.#store;
    if (size > this.#capacity) {
      while (this.#capacity < size) this.#capacity = Math.max(ROWS_MIN, this.#capacity * 2);
      gl.bufferData(gl.ARRAY_BUFFER, this.#capacity * STRIDE_WORDS * 4, gl.DYNAMIC_DRAW);
      dirty.take(size, () => {});
      gl.bufferSubData(gl.ARRAY_BUFFER, 0, words, 0, size * STRIDE_WORDS);
      return;
    }
    dirty.take(size, (first, end) => {
      const from = first * STRIDE_WORDS;
      gl.bufferSubData(gl.ARRAY_BUFFER, from * 4, words, from, end * STRIDE_WORDS - from);
    });
  }

  #prepare(): void {
    const gl = this.canvas.getContext('webgl2', {
      alpha: true,
      antialias: false,
      depth: false,
      premultipliedAlpha: true,
    });
    if (!gl) return;
    const program = gl.createProgram();
    for (const [kind, source] of [
      [gl.VERTEX_SHADER, VERTEX],
      [gl.FRAGMENT_SHADER, FRAGMENT],
    ] as const) {
      const shader = gl.createShader(kind) as WebGLShader;
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS) && !gl.isContextLost()) {
      throw new Error(`points shader: ${gl.getProgramInfoLog(program)}`);
    }
    gl.useProgram(program);
    this.#uniforms = uniformsOf(gl, program);
    this.#buffer = gl.createBuffer();
    gl.bindBuffer(gl.ARRAY_BUFFER, this.#buffer);
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, gl.createBuffer());
    const stride = STRIDE_WORDS * 4;
    gl.enableVertexAttribArray(0);
    gl.vertexAttribIPointer(0, 2, gl.UNSIGNED_INT, stride, 0);
    gl.enableVertexAttribArray(1);
    gl.vertexAttribIPointer(1, 2, gl.UNSIGNED_INT, stride, 8);
    gl.enableVertexAttribArray(2);
    gl.vertexAttribPointer(2, 2, gl.FLOAT, false, stride, 16);
    gl.enableVertexAttribArray(3);
    gl.vertexAttribIPointer(3, 1, gl.UNSIGNED_INT, stride, 24);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    this.#gl = gl;
    this.#capacity = 0;
  }
}

function uniformsOf(gl: WebGL2RenderingContext, program: WebGLProgram) {
  const names = [
    'u_center',
    'u_scale',
    'u_now',
    'u_size',
    'u_arrows',
    'u_colors',
    'u_outline',
    'u_alert_color',
    'u_opacity',
  ];
  return Object.fromEntries(names.map((name) => [name, gl.getUniformLocation(program, name)]));
}
