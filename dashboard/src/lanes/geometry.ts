// Where things lie in the lanes: time to pixels, bars in two alternating rows, links, gaps. Pure.
import type { Lane, Link } from '../api/api';
import { seconds } from '../time';

export const DAY = 86_400;
export const LANE_HEIGHT = 62;
export const ROW_HEIGHT = 20;
export const ROW_TOPS: readonly [number, number] = [8, 34];
export const AXIS_HEIGHT = 34;

/** What is shown: from `begin` to `end` (UNIX seconds) over `width` pixels. */
export type View = { begin: number; end: number; width: number };

export type Part = 'valid' | 'replaced' | 'expired' | 'revoked';

export type Segment = { part: Part; begin: number; end: number };

export type Bar = {
  link: Link;
  lane: number;
  /** Place in the lane, oldest first. */
  place: number;
  /** 0 above, 1 below: a certificate and its replacement never lie in one row. */
  row: 0 | 1;
  begin: number;
  end: number;
  segments: Segment[];
};

export function x(time: number, view: View): number {
  return ((time - view.begin) / (view.end - view.begin)) * view.width;
}

export function timeAt(pixel: number, view: View): number {
  return view.begin + (pixel / view.width) * (view.end - view.begin);
}

/**
 * What a certificate was over time: valid until it was replaced, from then on still valid but not in use, and nothing after
 * its revocation or end.
 */
export function segments(link: Link, now: number): Segment[] {
  const one = link.certificate;
  const begin = seconds(one.not_before);
  const end = seconds(one.not_after);
  const cuts: Segment[] = [];
  const revoked = one.revoked_at === null ? Infinity : seconds(one.revoked_at);
  const replaced = one.replaced_at === null ? Infinity : seconds(one.replaced_at);
  const valid = Math.min(end, replaced, revoked);
  const isExpired = end < now && replaced === Infinity && revoked === Infinity;
  if (valid > begin) cuts.push({ part: isExpired ? 'expired' : 'valid', begin, end: valid });
  if (replaced < Math.min(end, revoked)) cuts.push({ part: 'replaced', begin: replaced, end: Math.min(end, revoked) });
  if (revoked < end) cuts.push({ part: 'revoked', begin: Math.max(begin, revoked), end });
  return cuts;
}

export function bars(lanes: readonly Lane[], now: number): Bar[] {
  return lanes.flatMap((lane, place) =>
    lane.links.map((link, index): Bar => ({
      link,
      lane: place,
      place: index,
      row: index % 2 === 0 ? 0 : 1,
      begin: seconds(link.certificate.not_before),
      end: seconds(link.certificate.not_after),
      segments: segments(link, now),
    })),
  );
}

/** All that there is, with a little room on both sides. */
export function whole(lanes: readonly Lane[], now: number): { begin: number; end: number } {
  const all = bars(lanes, now);
  const begin = Math.min(now - 30 * DAY, ...all.map((bar) => bar.begin));
  const end = Math.max(now + 14 * DAY, ...all.map((bar) => bar.end));
  const room = (end - begin) * 0.02;
  return { begin: begin - room, end: end + room };
}

/** A shorter or longer time around `around`; never less than an hour, nor more than a century. */
export function zoomed(
  { begin, end }: { begin: number; end: number },
  factor: number,
  around: number,
): { begin: number; end: number } {
  const span = Math.min(Math.max((end - begin) * factor, 3600), 100 * 365 * DAY);
  const share = (around - begin) / (end - begin);
  return { begin: around - span * share, end: around + span * (1 - share) };
}

export function moved({ begin, end }: { begin: number; end: number }, by: number): { begin: number; end: number } {
  return { begin: begin + by, end: end + by };
}

export type Tick = { time: number; text: string; major: boolean };

const STEPS = [3600, 6 * 3600, DAY, 2 * DAY, 7 * DAY, 14 * DAY];
const MONTHS = [1, 3, 6, 12, 60, 120];
const PIXELS_MIN = 84;

/** Ticks at round local times, at least PIXELS_MIN apart; months and years are as long as they are. */
export function ticks(view: View): Tick[] {
  const perPixel = (view.end - view.begin) / view.width;
  const step = STEPS.find((one) => one / perPixel >= PIXELS_MIN);
  return step === undefined || step > 7 * DAY ? monthTicks(view, perPixel) : dayTicks(view, step);
}

function dayTicks(view: View, step: number): Tick[] {
  const found: Tick[] = [];
  const first = new Date(view.begin * 1000);
  first.setHours(0, 0, 0, 0);
  if (step >= 7 * DAY) first.setDate(first.getDate() - ((first.getDay() + 6) % 7));
  for (let count = 0; count < 1000; count += 1) {
    const at = new Date(first);
    if (step >= DAY) at.setDate(first.getDate() + (count * step) / DAY);
    else at.setTime(first.getTime() + count * step * 1000);
    const time = at.getTime() / 1000;
    if (time > view.end) break;
    if (time < view.begin) continue;
    const midnight = at.getHours() === 0;
    found.push({
      time,
      major: step < DAY ? midnight : at.getDate() <= step / DAY,
      text:
        step < DAY && !midnight
          ? at.toLocaleTimeString('en-GB', { hour: '2-digit', minute: '2-digit' })
          : at.toLocaleDateString('en-GB', { day: 'numeric', month: 'short' }),
    });
  }
  return found;
}

function monthTicks(view: View, perPixel: number): Tick[] {
  const step = MONTHS.find((one) => (one * 30 * DAY) / perPixel >= PIXELS_MIN) ?? 120;
  const found: Tick[] = [];
  const first = new Date(view.begin * 1000);
  const month = Math.floor((first.getFullYear() * 12 + first.getMonth()) / step) * step;
  for (let count = 0; count < 1000; count += 1) {
    const at = new Date(Math.floor((month + count * step) / 12), (month + count * step) % 12, 1);
    const time = at.getTime() / 1000;
    if (time > view.end) break;
    if (time < view.begin) continue;
    const january = at.getMonth() === 0;
    found.push({
      time,
      major: january,
      text: step >= 12 || january ? String(at.getFullYear()) : at.toLocaleDateString('en-GB', { month: 'short' }),
    });
  }
  return found;
}

/** The next bar for an arrow key; the same one where there is none. `lane` moves to the bar that is nearest in time. */
export function neighbour(all: readonly Bar[], from: Bar, key: string): Bar {
  const inLane = all.filter((bar) => bar.lane === from.lane);
  switch (key) {
    case 'ArrowLeft':
      return inLane[from.place - 1] ?? from;
    case 'ArrowRight':
      return inLane[from.place + 1] ?? from;
    case 'Home':
      return inLane[0] ?? from;
    case 'End':
      return inLane[inLane.length - 1] ?? from;
    case 'ArrowUp':
    case 'ArrowDown': {
      const lane = from.lane + (key === 'ArrowUp' ? -1 : 1);
      const candidates = all.filter((bar) => bar.lane === lane);
      const middle = (from.begin + from.end) / 2;
      return candidates.reduce<Bar>(
        (best, bar) =>
          best === from || Math.abs((bar.begin + bar.end) / 2 - middle) < Math.abs((best.begin + best.end) / 2 - middle)
            ? bar
            : best,
        from,
      );
    }
    default:
      return from;
  }
}
