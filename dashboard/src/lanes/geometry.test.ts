import { describe, expect, it } from 'vitest';
import type { Lane, Link } from '../api/api';
import { DAY, bars, neighbour, segments, ticks, timeAt, whole, x, zoomed } from './geometry';

const NOW = Date.parse('2026-06-01T00:00:00Z') / 1000;

function at(days: number): string {
  return new Date((NOW + days * DAY) * 1000).toISOString().replace('.000', '');
}

function link(serial: string, begin: number, end: number, more: Partial<Link['certificate']> = {}): Link {
  return {
    unusual: false,
    contested: false,
    refusals: [],
    certificate: {
      offset: 1,
      serial,
      status: 'valid',
      service: 'dns:web.internal',
      names: ['dns:web.internal'],
      node: 'a',
      profile: 'server',
      issuer: '00',
      key_type: 'ecdsa-p256',
      requester: { kind: 'token', id: 'x', role: 'requester' },
      not_before: at(begin),
      not_after: at(end),
      issued_at: at(begin),
      due_at: at(begin + ((end - begin) * 2) / 3),
      is_overdue: false,
      lineage: '00',
      predecessor: null,
      replaced_by: null,
      replaced_at: null,
      revoked_at: null,
      reason: null,
      fingerprint: '',
      ...more,
    },
  };
}

function lane(node: string, ...links: Link[]): Lane {
  return { lineage: node, node, state: 'good', due_at: at(10), links, gaps: [] };
}

describe('segments', () => {
  it('is in use until it was replaced, then valid but replaced', () => {
    const parts = segments(link('1', -30, 10, { replaced_by: '2', replaced_at: at(-5) }), NOW);
    expect(parts.map((one) => [one.part, (one.begin - NOW) / DAY, (one.end - NOW) / DAY])).toEqual([
      ['valid', -30, -5],
      ['replaced', -5, 10],
    ]);
  });

  it('is nothing after its revocation', () => {
    const parts = segments(link('1', -30, 10, { status: 'revoked', revoked_at: at(-20), replaced_by: '2', replaced_at: at(-25) }), NOW);
    expect(parts.map((one) => one.part)).toEqual(['valid', 'replaced', 'revoked']);
    expect(parts.reduce((sum, one) => sum + one.end - one.begin, 0)).toBe(40 * DAY);
  });

  it('ended without a replacement', () => {
    expect(segments(link('1', -30, -1), NOW).map((one) => one.part)).toEqual(['expired']);
  });

  it('was in use until it was revoked, also where that is long ago', () => {
    expect(segments(link('1', -90, -60, { status: 'revoked', revoked_at: at(-70) }), NOW).map((one) => one.part)).toEqual(['valid', 'revoked']);
  });

  it('revoked before it was valid leaves no time in use', () => {
    expect(segments(link('1', -30, 10, { revoked_at: at(-40) }), NOW).map((one) => one.part)).toEqual(['revoked']);
  });
});

describe('the view', () => {
  const lanes = [lane('a', link('1', -60, -30), link('2', -40, -10)), lane('b', link('3', -50, 20))];

  it('shows all that there is', () => {
    const all = whole(lanes, NOW);
    for (const bar of bars(lanes, NOW)) {
      expect(bar.begin).toBeGreaterThan(all.begin);
      expect(bar.end).toBeLessThan(all.end);
    }
  });

  it('keeps what is under the mouse where it is when it zooms', () => {
    const view = { begin: NOW - 100 * DAY, end: NOW, width: 1000 };
    const around = timeAt(250, view);
    const nearer = zoomed(view, 0.5, around);
    expect(x(around, { ...nearer, width: 1000 })).toBeCloseTo(250);
    expect(nearer.end - nearer.begin).toBeCloseTo(50 * DAY);
    const nearest = zoomed(view, 1e-9, around);
    expect(nearest.end - nearest.begin).toBeCloseTo(3600);
  });

  it('has ticks that do not run into each other, at every zoom', () => {
    for (const span of [3600, DAY, 9 * DAY, 40 * DAY, 200 * DAY, 900 * DAY, 9000 * DAY]) {
      for (const width of [240, 900, 1600]) {
        const view = { begin: NOW - span, end: NOW, width };
        const places = ticks(view).map((tick) => x(tick.time, view));
        expect(places.length).toBeLessThan(40);
        for (const [place, one] of places.entries()) {
          const before = places[place - 1];
          // months and changes of the clock are not all of one length
          if (before !== undefined) expect(one - before).toBeGreaterThan(60);
        }
      }
    }
  });

  it('puts a certificate and its replacement into different rows', () => {
    expect(bars(lanes, NOW).map((bar) => bar.row)).toEqual([0, 1, 0]);
  });
});

describe('the arrow keys', () => {
  const all = bars([lane('a', link('1', -60, -30), link('2', -40, -10)), lane('b', link('3', -90, -80), link('4', -20, 20))], NOW);
  const serial = (from: number, key: string): string | undefined => {
    const bar = all[from];
    return bar && neighbour(all, bar, key).link.certificate.serial;
  };

  it('walk along a lane and stop at its ends', () => {
    expect([serial(0, 'ArrowRight'), serial(1, 'ArrowRight'), serial(1, 'ArrowLeft'), serial(0, 'ArrowLeft')]).toEqual(['2', '2', '1', '1']);
    expect([serial(3, 'Home'), serial(2, 'End')]).toEqual(['3', '4']);
  });

  it('change the lane to what is nearest in time', () => {
    expect([serial(1, 'ArrowDown'), serial(0, 'ArrowDown'), serial(2, 'ArrowUp'), serial(0, 'ArrowUp')]).toEqual(['4', '3', '1', '1']);
  });
});
