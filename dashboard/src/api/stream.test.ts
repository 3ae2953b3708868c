import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { makeStore } from '../store';
import { follow } from './stream';

vi.stubGlobal('matchMedia', () => ({ matches: false }));

/** A source of events that a test leads. */
class Source extends EventTarget {
  readyState = 1;
  closed = false;
  constructor(readonly url: string) {
    super();
  }
  close(): void {
    this.closed = true;
  }
  tell(kind: string, data: string): void {
    this.dispatchEvent(new MessageEvent(kind, { data }));
  }
  record(offset: number): void {
    this.tell('record', JSON.stringify({ offset, type: 'quicklime.certificate.issued.v1', time: '', subject: '', requester: null, refusal: null }));
  }
}

describe('the stream', () => {
  const sources: Source[] = [];
  const open = (url: string): EventSource => {
    const source = new Source(url);
    sources.push(source);
    return source as unknown as EventSource;
  };

  beforeEach(() => {
    vi.useFakeTimers();
    sources.length = 0;
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it('counts each record once, in order, however often it is taken up', () => {
    const store = makeStore();
    const stop = follow(store, open);
    sources[0]?.tell('begin', '5');
    for (const offset of [6, 7, 7, 6, 8]) sources[0]?.record(offset);
    const { live } = store.getState();
    expect(live.heard.map((one) => one.offset)).toEqual([8, 7, 6]);
    expect([live.offset, live.connection]).toEqual([8, 'live']);
    stop();
    expect(sources[0]?.closed).toBe(true);
  });

  it('begins after the last record where the browser gave up', () => {
    const store = makeStore();
    const stop = follow(store, open);
    expect(sources[0]?.url).toBe('/v1/monitor/stream');
    sources[0]?.tell('begin', '5');
    sources[0]?.record(9);
    // the browser reconnects by itself
    sources[0]?.dispatchEvent(new Event('error'));
    expect([sources.length, store.getState().live.connection]).toEqual([1, 'away']);
    sources[0]?.tell('begin', '9');
    expect(store.getState().live.connection).toBe('live');
    // the browser gives up
    if (sources[0]) sources[0].readyState = 2;
    sources[0]?.dispatchEvent(new Event('error'));
    vi.advanceTimersByTime(5000);
    expect(sources.map((one) => one.url)).toEqual(['/v1/monitor/stream', '/v1/monitor/stream?after=9']);
    stop();
    vi.advanceTimersByTime(60_000);
    expect(sources).toHaveLength(2);
  });
});
