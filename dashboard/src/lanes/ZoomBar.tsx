// Zoom and pan without a mouse wheel.
import { Button, ToggleGroup, ToggleGroupItem } from '@patternfly/react-core';
import AngleLeftIcon from '@patternfly/react-icons/dist/esm/icons/angle-left-icon';
import AngleRightIcon from '@patternfly/react-icons/dist/esm/icons/angle-right-icon';
import SearchMinusIcon from '@patternfly/react-icons/dist/esm/icons/search-minus-icon';
import SearchPlusIcon from '@patternfly/react-icons/dist/esm/icons/search-plus-icon';
import { useState } from 'react';
import type { ReactNode } from 'react';

type Props = {
  onZoom: (factor: number) => void;
  onMove: (share: number) => void;
  onDays: (days: number) => void;
  onAll: () => void;
  isAll: boolean;
};

const SPANS: [string, number][] = [
  ['2 weeks', 14],
  ['2 months', 60],
  ['Half a year', 182],
];

export function ZoomBar({ onZoom, onMove, onDays, onAll, isAll }: Props): ReactNode {
  const [days, setDays] = useState<number | null>(null);
  function act(action: () => void): void {
    setDays(null);
    action();
  }
  return (
    <div className="ql-zoom">
      <ToggleGroup isCompact aria-label="Time that is shown">
        {SPANS.map(([text, count]) => (
          <ToggleGroupItem
            key={text}
            text={text}
            isSelected={!isAll && days === count}
            onChange={() => {
              setDays(count);
              onDays(count);
            }}
          />
        ))}
        <ToggleGroupItem text="All" isSelected={isAll} onChange={() => act(onAll)} />
      </ToggleGroup>
      <span className="ql-zoom__buttons">
        <Button variant="plain" aria-label="Earlier" icon={<AngleLeftIcon />} onClick={() => act(() => onMove(-0.25))} />
        <Button variant="plain" aria-label="Zoom out" icon={<SearchMinusIcon />} onClick={() => act(() => onZoom(1.6))} />
        <Button variant="plain" aria-label="Zoom in" icon={<SearchPlusIcon />} onClick={() => act(() => onZoom(1 / 1.6))} />
        <Button variant="plain" aria-label="Later" icon={<AngleRightIcon />} onClick={() => act(() => onMove(0.25))} />
      </span>
    </div>
  );
}
