// The present, which moves on while a page stands open.
import { useSyncExternalStore } from 'react';

const STEP_MILLISECONDS = 10_000;

function subscribe(changed: () => void): () => void {
  const timer = setInterval(changed, STEP_MILLISECONDS);
  return () => {
    clearInterval(timer);
  };
}

function snapshot(): number {
  return Math.floor(Date.now() / STEP_MILLISECONDS) * (STEP_MILLISECONDS / 1000);
}

/** UNIX seconds, in steps of ten. */
export function useNow(): number {
  return useSyncExternalStore(subscribe, snapshot);
}
