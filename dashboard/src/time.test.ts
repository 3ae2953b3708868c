import { describe, expect, it } from 'vitest';
import { length, relativeTo, utc } from './time';
import { asMoment } from './parts/MomentPicker';
import { rounded } from './parts/Bars';
import { queryString } from './api/api';

const NOW = Date.parse('2026-06-01T12:00:00Z') / 1000;

describe('times', () => {
  it('are relative, and in UTC', () => {
    expect(relativeTo('2026-06-04T12:00:00Z', NOW)).toBe('in 3 days');
    expect(relativeTo('2026-06-01T10:00:00Z', NOW)).toBe('2 hours ago');
    expect(relativeTo('2026-06-01T12:00:00Z', NOW)).toBe('now');
    expect(utc('2026-06-01T12:00:00Z')).toBe('2026-06-01 12:00:00 UTC');
    expect([length(86_400), length(7200), length(0)]).toEqual(['1 day', '2 hours', '0 seconds']);
  });

  it('are taken as offsets or moments', () => {
    expect(asMoment(' 1234 ')).toBe('1234');
    expect(asMoment('2026-06-01T12:00:00+02:00')).toBe('2026-06-01T10:00:00Z');
    expect([asMoment(''), asMoment('soon')]).toEqual([undefined, undefined]);
  });
});

describe('figures', () => {
  it('end at round numbers', () => {
    expect([rounded(0), rounded(4), rounded(5), rounded(37), rounded(51), rounded(1001)]).toEqual([4, 4, 5, 50, 100, 2000]);
  });
});

describe('queries', () => {
  it('leave out what is empty and repeat what is many', () => {
    expect(queryString({ a: '', b: undefined, c: 0, d: ['x', 'y'], e: null })).toBe('?c=0&d=x&d=y');
    expect(queryString({})).toBe('');
  });
});
