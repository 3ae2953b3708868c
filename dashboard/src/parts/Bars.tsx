// What happened over time: stacked columns, with the same figures as a table for whoever does not see them.
import type { ReactNode } from 'react';
import type { SeriesPoint } from '../api/api';
import { localDay, localTime } from '../time';

const KINDS = ['renewed', 'issued', 'revoked', 'refused'] as const;
const NAMES = { renewed: 'Renewed', issued: 'Issued', revoked: 'Revoked', refused: 'Refused' };
const WIDTH = 900;
const HEIGHT = 170;
const BASE = 146;

/** The next round number: 1, 2 or 5 times a power of ten. */
export function rounded(most: number): number {
  if (most <= 4) return 4;
  const power = 10 ** Math.floor(Math.log10(most));
  return ([1, 2, 5, 10].find((one) => one * power >= most) ?? 10) * power;
}

export function Bars({ points, periodSeconds }: { points: readonly SeriesPoint[]; periodSeconds: number }): ReactNode {
  const most = rounded(Math.max(...points.map((one) => KINDS.reduce((sum, kind) => sum + one[kind], 0))));
  const step = (WIDTH - 40) / points.length;
  const named = periodSeconds < 86_400 ? localTime : localDay;
  const every = Math.ceil(points.length / 8);
  const total = (kind: (typeof KINDS)[number]): number => points.reduce((sum, one) => sum + one[kind], 0);
  return (
    <figure className="ql-bars">
      <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-label={KINDS.map((kind) => `${NAMES[kind]}: ${total(kind)}`).join(', ')}>
        <defs>
          <pattern id="ql-bars-refused" width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">
            <rect width="2.5" height="5" className="ql-bars__refused-ink" />
          </pattern>
        </defs>
        {[0, 0.5, 1].map((share) => (
          <g key={share}>
            <line x1={36} x2={WIDTH} y1={BASE - share * 130} y2={BASE - share * 130} className="ql-tick" />
            <text x={32} y={BASE - share * 130 + 4} textAnchor="end" className="ql-tick-text">
              {most * share}
            </text>
          </g>
        ))}
        {points.map((one, place) => {
          let top = BASE;
          return (
            <g key={one.time}>
              <title>{`${named(one.time)}: ${KINDS.map((kind) => `${one[kind]} ${kind}`).join(', ')}`}</title>
              <rect x={40 + place * step} y={10} width={step} height={BASE - 10} fill="transparent" />
              {KINDS.map((kind) => {
                const height = (one[kind] / most) * 130;
                top -= height;
                return height > 0 ? (
                  <rect
                    key={kind}
                    x={40 + place * step + step * 0.1}
                    y={top}
                    width={Math.max(step * 0.8, 1)}
                    height={height}
                    className={`ql-bars__${kind}`}
                    {...(kind === 'refused' ? { fill: 'url(#ql-bars-refused)' } : {})}
                  />
                ) : null;
              })}
              {place % every === 0 ? (
                <text x={40 + place * step} y={HEIGHT - 6} className="ql-tick-text">
                  {named(one.time).replace(/ \d{4}.*/, '')}
                </text>
              ) : null}
            </g>
          );
        })}
      </svg>
      <figcaption>
        <ul className="ql-legend">
          {KINDS.map((kind) => (
            <li key={kind}>
              <svg width="14" height="14" aria-hidden="true">
                <rect
                  width="14"
                  height="14"
                  rx="2"
                  className={`ql-bars__${kind}`}
                  {...(kind === 'refused' ? { fill: 'url(#ql-bars-refused)' } : {})}
                />
              </svg>
              {NAMES[kind]} {total(kind)}
            </li>
          ))}
        </ul>
      </figcaption>
    </figure>
  );
}
