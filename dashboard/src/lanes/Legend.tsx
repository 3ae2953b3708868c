// What the shapes in the lanes mean.
import type { ReactNode } from 'react';

const ITEMS: [string, string][] = [
  ['valid', 'valid, in use'],
  ['replaced', 'valid, but replaced'],
  ['expired', 'ended, not replaced'],
  ['revoked', 'revoked'],
  ['gap', 'no certificate'],
];

export function Legend(): ReactNode {
  return (
    <ul className="ql-legend" aria-label="Legend">
      {ITEMS.map(([part, text]) => (
        <li key={part}>
          <svg width="26" height="14" aria-hidden="true">
            <rect
              width="26"
              height="14"
              rx="3"
              className={`ql-part ql-part-${part}`}
              {...(part === 'valid' ? {} : { fill: `url(#ql-${part})` })}
            />
          </svg>
          {text}
        </li>
      ))}
      <li>
        <svg width="14" height="14" viewBox="-7 -7 14 14" aria-hidden="true">
          <path d="M0 -5L5 0L0 5L-5 0z" className="ql-due" />
        </svg>
        renewal expected
      </li>
      <li>
        <svg width="14" height="14" viewBox="-7 -7 14 14" aria-hidden="true">
          <circle r={6} className="ql-refusal" />
          <path d="M-2.5 -2.5L2.5 2.5M2.5 -2.5L-2.5 2.5" className="ql-refusal-cross" />
        </svg>
        request refused
      </li>
      <li>
        <svg width="18" height="16" viewBox="-9 -9 18 16" aria-hidden="true">
          <path d="M0 -9L9 7L-9 7z" className="ql-warn" />
        </svg>
        unusual or contested
      </li>
    </ul>
  );
}
