// The lineages of a service: one swim-lane per node, a bar per certificate, a link from each to what replaced it.
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from 'react';
import type { KeyboardEvent, PointerEvent, ReactNode } from 'react';
import { useNavigate } from 'react-router';
import type { Lane } from '../api/api';
import { StateLabel } from '../parts/Labels';
import { Text } from '../parts/Text';
import { useAddress } from '../parts/address';
import { shortSerial } from '../text';
import { localTime, seconds } from '../time';
import {
  AXIS_HEIGHT,
  DAY,
  LANE_HEIGHT,
  ROW_HEIGHT,
  ROW_TOPS,
  bars as barsOf,
  moved,
  neighbour,
  ticks,
  timeAt,
  whole,
  x,
  zoomed,
} from './geometry';
import type { Bar, View } from './geometry';
import { BarDetail } from './BarDetail';
import { Legend } from './Legend';
import { ZoomBar } from './ZoomBar';
import { LANE_STATES, nodeName, spoken } from './words';
import './lanes.css';

const WIDTH_FIRST = 900;
const CLICK_PIXELS = 4;

type Span = { begin: number; end: number };
type Props = { lanes: readonly Lane[]; now: number; label: string; highlighted?: string | undefined };

export function Lanes({ lanes, now, label, highlighted }: Props): ReactNode {
  const bars = useMemo(() => barsOf(lanes, now), [lanes, now]);
  const all = useMemo(() => whole(lanes, now), [lanes, now]);
  const [chosen, setChosen] = useState<Span | null>(null);
  const [focused, setFocused] = useState<string | null>(highlighted ?? null);
  const [width, ref] = useWidth();
  const span = chosen ?? all;
  const view: View = { ...span, width };
  const navigate = useNavigate();
  const address = useAddress();
  const svg = useRef<SVGSVGElement>(null);
  const drag = useRef<{ x: number; span: Span; moved: boolean } | null>(null);
  const current = bars.find((bar) => bar.link.certificate.serial === focused);
  const entry = current ?? bars[bars.length - 1];
  const height = AXIS_HEIGHT + lanes.length * LANE_HEIGHT;

  useEffect(() => {
    const element = svg.current;
    if (!element) return undefined;
    // React listens passively to wheels: a zoom must keep the page from scrolling
    function wheel(event: WheelEvent): void {
      if (!event.ctrlKey && !event.metaKey && Math.abs(event.deltaX) <= Math.abs(event.deltaY)) return;
      event.preventDefault();
      const box = element?.getBoundingClientRect();
      setChosen((before) => {
        const from = before ?? all;
        if (event.ctrlKey || event.metaKey) {
          const around = timeAt(event.clientX - (box?.left ?? 0), { ...from, width });
          return zoomed(from, Math.exp(event.deltaY / 300), around);
        }
        return moved(from, (event.deltaX / width) * (from.end - from.begin));
      });
    }
    element.addEventListener('wheel', wheel, { passive: false });
    return () => element.removeEventListener('wheel', wheel);
  }, [all, width]);

  function focus(bar: Bar): void {
    setFocused(bar.link.certificate.serial);
    setChosen((before) => revealed(before ?? all, bar));
    requestAnimationFrame(() => document.getElementById(barId(bar))?.focus());
  }

  function key(event: KeyboardEvent, bar: Bar): void {
    if (event.key === 'Enter' || event.key === ' ') {
      event.preventDefault();
      void navigate(address(`/certificates/${bar.link.certificate.serial}`));
    } else if (event.key === '+' || event.key === '=') {
      setChosen(zoomed(span, 0.6, (bar.begin + bar.end) / 2));
    } else if (event.key === '-') {
      setChosen(zoomed(span, 1 / 0.6, (bar.begin + bar.end) / 2));
    } else if (event.key === '0') {
      setChosen(null);
    } else if (event.key.startsWith('Arrow') || event.key === 'Home' || event.key === 'End') {
      event.preventDefault();
      focus(neighbour(bars, bar, event.key));
    }
  }

  function pointerDown(event: PointerEvent<SVGSVGElement>): void {
    if (event.button === 0) drag.current = { x: event.clientX, span, moved: false };
  }

  function pointerMove(event: PointerEvent<SVGSVGElement>): void {
    const from = drag.current;
    if (!from || event.buttons === 0) return;
    const pixels = event.clientX - from.x;
    if (!from.moved && Math.abs(pixels) < CLICK_PIXELS) return;
    if (!from.moved) event.currentTarget.setPointerCapture(event.pointerId);
    from.moved = true;
    setChosen(moved(from.span, (-pixels / width) * (from.span.end - from.span.begin)));
  }

  function open(bar: Bar): void {
    if (drag.current?.moved) return;
    void navigate(address(`/certificates/${bar.link.certificate.serial}`));
  }

  return (
    <div className="ql-lanes">
      <ZoomBar
        onZoom={(factor) => setChosen(zoomed(span, factor, (span.begin + span.end) / 2))}
        onMove={(share) => setChosen(moved(span, share * (span.end - span.begin)))}
        onDays={(days) => setChosen({ begin: now - days * 0.8 * DAY, end: now + days * 0.2 * DAY })}
        onAll={() => setChosen(null)}
        isAll={chosen === null}
      />
      <div className="ql-lanes__body">
        <ol className="ql-lanes__heads" aria-label={`Nodes of ${label}`}>
          {lanes.map((lane) => (
            <li key={lane.links[0]?.certificate.serial} className="ql-lanes__head">
              <span className="ql-lanes__node">
                <Text value={nodeName(lane.node)} most={40} />
              </span>
              <StateLabel {...LANE_STATES[lane.state]} isCompact />
            </li>
          ))}
        </ol>
        <div className="ql-lanes__scroll" ref={ref}>
          <svg
            ref={svg}
            className="ql-lanes__svg"
            width={width}
            height={height}
            role="group"
            aria-label={`Certificates of ${label} over time. Arrow keys move between certificates, plus and minus zoom, Enter opens one.`}
            onPointerDown={pointerDown}
            onPointerMove={pointerMove}
          >
            <Patterns />
            {lanes.map((lane, place) => (
              <LaneLine key={lane.links[0]?.certificate.serial} lane={lane} place={place} view={view} now={now} />
            ))}
            <Axis view={view} height={height} now={now} />
            <Connections bars={bars} view={view} />
            {bars.map((bar) => (
              <BarShape
                key={bar.link.certificate.serial}
                bar={bar}
                view={view}
                node={lanes[bar.lane]?.node ?? null}
                isEntry={bar === entry}
                isMarked={bar.link.certificate.serial === highlighted}
                onFocus={() => setFocused(bar.link.certificate.serial)}
                onKeyDown={(event) => key(event, bar)}
                onOpen={() => open(bar)}
              />
            ))}
            {lanes.map((lane, place) => (
              <Due key={lane.links[0]?.certificate.serial} lane={lane} place={place} view={view} now={now} />
            ))}
          </svg>
        </div>
      </div>
      <Legend />
      {current && focused !== highlighted ? <BarDetail bar={current} lane={lanes[current.lane]} now={now} /> : null}
    </div>
  );
}

export function barId(bar: Bar): string {
  return `bar-${bar.link.certificate.serial}`;
}

/** The span, moved so far that the bar's middle can be seen. */
function revealed(span: Span, bar: Bar): Span {
  const middle = (Math.max(bar.begin, 0) + bar.end) / 2;
  if (middle >= span.begin && middle <= span.end) return span;
  return moved(span, middle - (span.begin + span.end) / 2);
}

function useWidth(): [number, (element: HTMLDivElement | null) => void] {
  const [width, setWidth] = useState(WIDTH_FIRST);
  const [element, setElement] = useState<HTMLDivElement | null>(null);
  useLayoutEffect(() => {
    if (!element) return undefined;
    const observer = new ResizeObserver(() => setWidth(Math.max(200, element.clientWidth)));
    observer.observe(element);
    // it calls back at once, so the first width is right before anything is painted
    return () => observer.disconnect();
  }, [element]);
  return [width, setElement];
}

/** States by pattern too, for whoever sees no colours, and in print. */
function Patterns(): ReactNode {
  return (
    <defs>
      <pattern id="ql-replaced" width="7" height="7" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">
        <rect width="7" height="7" className="ql-fill-replaced" />
        <rect width="2" height="7" className="ql-ink-replaced" />
      </pattern>
      <pattern id="ql-expired" width="6" height="6" patternUnits="userSpaceOnUse">
        <rect width="6" height="6" className="ql-fill-expired" />
        <circle cx="3" cy="3" r="1" className="ql-ink-expired" />
      </pattern>
      <pattern id="ql-revoked" width="8" height="8" patternUnits="userSpaceOnUse">
        <rect width="8" height="8" className="ql-fill-revoked" />
        <path d="M0 0L8 8M8 0L0 8" className="ql-line-revoked" />
      </pattern>
      <pattern id="ql-gap" width="8" height="8" patternUnits="userSpaceOnUse" patternTransform="rotate(-45)">
        <rect width="3" height="8" className="ql-ink-gap" />
      </pattern>
      <marker id="ql-arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" markerUnits="userSpaceOnUse" orient="auto">
        <path d="M0 0L8 4L0 8z" className="ql-ink-link" />
      </marker>
    </defs>
  );
}

function Axis({ view, height, now }: { view: View; height: number; now: number }): ReactNode {
  const at = x(now, view);
  return (
    <g aria-hidden="true">
      {ticks(view).map((tick) => {
        const place = x(tick.time, view);
        return (
          <g key={tick.time}>
            <line x1={place} x2={place} y1={AXIS_HEIGHT - 8} y2={height} className={tick.major ? 'ql-tick-major' : 'ql-tick'} />
            <text x={place + 4} y={16} className="ql-tick-text">
              {tick.text}
            </text>
          </g>
        );
      })}
      {at >= 0 && at <= view.width ? (
        <g>
          <line x1={at} x2={at} y1={4} y2={height} className="ql-now" />
          <text x={at > view.width - 40 ? at - 5 : at + 5} y={30} textAnchor={at > view.width - 40 ? 'end' : 'start'} className="ql-now-text">
            now
          </text>
        </g>
      ) : null}
    </g>
  );
}

function LaneLine({ lane, place, view, now }: { lane: Lane; place: number; view: View; now: number }): ReactNode {
  const top = AXIS_HEIGHT + place * LANE_HEIGHT;
  return (
    <g aria-hidden="true">
      <rect x={0} y={top} width={view.width} height={LANE_HEIGHT} className={place % 2 ? 'ql-lane-odd' : 'ql-lane-even'} />
      {lane.gaps.map((gap) => {
        const begin = Math.max(x(seconds(gap.begin), view), 0);
        const end = Math.min(x(gap.end === null ? now : seconds(gap.end), view), view.width);
        return end > begin ? (
          <g key={gap.begin}>
            <rect x={begin} y={top + 3} width={end - begin} height={LANE_HEIGHT - 6} fill="url(#ql-gap)" className="ql-gap" />
            {end - begin > 96 ? (
              <text x={(begin + end) / 2} y={top + LANE_HEIGHT / 2 + 4} className="ql-gap-text">
                no certificate
              </text>
            ) : null}
          </g>
        ) : null;
      })}
    </g>
  );
}

/** When the newest certificate of the lane should be replaced. */
function Due({ lane, place, view, now }: { lane: Lane; place: number; view: View; now: number }): ReactNode {
  const newest = lane.links[lane.links.length - 1]?.certificate;
  if (newest?.status !== 'valid') return null;
  const due = seconds(lane.due_at);
  const row = ROW_TOPS[lane.links.length % 2 === 1 ? 0 : 1];
  return (
    <g aria-hidden="true" transform={`translate(${x(due, view)} ${AXIS_HEIGHT + place * LANE_HEIGHT + row + ROW_HEIGHT / 2})`}>
      <path d="M0 -6L6 0L0 6L-6 0z" className={due < now ? 'ql-due-past' : 'ql-due'} />
    </g>
  );
}

function barTop(bar: Bar): number {
  return AXIS_HEIGHT + bar.lane * LANE_HEIGHT + ROW_TOPS[bar.row];
}

/** From where a certificate was replaced to where its replacement begins. */
function Connections({ bars, view }: { bars: readonly Bar[]; view: View }): ReactNode {
  const bySerial = new Map(bars.map((bar) => [bar.link.certificate.serial, bar]));
  return (
    <g aria-hidden="true">
      {bars.map((bar) => {
        const parent = bar.link.certificate.predecessor ? bySerial.get(bar.link.certificate.predecessor) : undefined;
        if (!parent) return null;
        const at = Math.min(Math.max(seconds(bar.link.certificate.issued_at), parent.begin), parent.end);
        const from = x(at, view);
        const to = x(bar.begin, view);
        const down = bar.row === 1;
        const y1 = barTop(parent) + (down ? ROW_HEIGHT : 0);
        const y2 = barTop(bar) + ROW_HEIGHT / 2;
        return (
          <path
            key={bar.link.certificate.serial}
            d={`M${from} ${y1}C${from} ${y2} ${to - 14} ${y2} ${Math.max(to, from - 400)} ${y2}`}
            className={bar.link.unusual ? 'ql-link ql-link-unusual' : 'ql-link'}
            markerEnd="url(#ql-arrow)"
          />
        );
      })}
    </g>
  );
}

type BarProps = {
  bar: Bar;
  view: View;
  node: string | null;
  isEntry: boolean;
  isMarked: boolean;
  onFocus: () => void;
  onKeyDown: (event: KeyboardEvent) => void;
  onOpen: () => void;
};

function BarShape({ bar, view, node, isEntry, isMarked, onFocus, onKeyDown, onOpen }: BarProps): ReactNode {
  const begin = x(bar.begin, view);
  const end = x(bar.end, view);
  if (end < -2 || begin > view.width + 2) return null;
  const top = barTop(bar);
  const shown = Math.max(begin, 0);
  const room = Math.min(end, view.width) - shown;
  const { link } = bar;
  const isWarned = link.unusual || link.contested;
  return (
    <g
      id={barId(bar)}
      role="link"
      tabIndex={isEntry ? 0 : -1}
      aria-label={spoken(link, node)}
      className={isMarked ? 'ql-bar ql-bar-marked' : 'ql-bar'}
      onFocus={onFocus}
      onPointerEnter={onFocus}
      onKeyDown={onKeyDown}
      onClick={onOpen}
    >
      <title>{spoken(link, node)}</title>
      {bar.segments.map((segment) => (
        <rect
          key={segment.part}
          x={x(segment.begin, view)}
          y={top}
          width={Math.max(x(segment.end, view) - x(segment.begin, view), 1.5)}
          height={ROW_HEIGHT}
          className={`ql-part ql-part-${segment.part}`}
          {...(segment.part === 'valid' ? {} : { fill: `url(#ql-${segment.part})` })}
        />
      ))}
      <rect x={begin} y={top} width={Math.max(end - begin, 2)} height={ROW_HEIGHT} rx={3} className="ql-bar-edge" />
      {room > 74 ? (
        <text x={shown + (isWarned ? 23 : 7)} y={top + 14} className="ql-bar-text">
          {shortSerial(link.certificate.serial)}
          {link.certificate.status === 'revoked' ? ' revoked' : link.unusual && room > 130 ? ' unusual' : ''}
        </text>
      ) : null}
      {isWarned ? (
        <g transform={`translate(${shown + 11} ${top + 10})`}>
          <path d="M0 -8L8.5 7L-8.5 7z" className="ql-warn" />
          <text x={0} y={5} className="ql-warn-text">
            !
          </text>
        </g>
      ) : null}
      {link.refusals.map((refusal) => {
        const at = x(seconds(refusal.time), view);
        return (
          <g key={refusal.offset} transform={`translate(${at} ${top + ROW_HEIGHT / 2})`}>
            <circle r={6} className="ql-refusal" />
            <path d="M-2.5 -2.5L2.5 2.5M2.5 -2.5L-2.5 2.5" className="ql-refusal-cross" />
            <title>{`${localTime(refusal.time)}: refused, ${refusal.codes.join(', ')}`}</title>
          </g>
        );
      })}
    </g>
  );
}
