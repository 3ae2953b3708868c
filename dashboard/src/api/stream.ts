// The log as it grows: server-sent events whose id is the offset. The browser takes up a broken stream at Last-Event-ID by
// itself; where it gives up (an error instead of a stream), we begin anew after the last offset that was heard.
import { began, connectionChanged, recordHeard } from '../store';
import type { Store } from '../store';
import { dashboardApi } from './api';
import type { RecordRow } from './api';

const AGAIN_MILLISECONDS = 2000;
const GATHER_MILLISECONDS = 400;

/** Whether a record of this type changes who issues. */
export function changesIssuers(type: string): boolean {
  return type.startsWith('quicklime.issuer.') || type.startsWith('quicklime.crl.');
}

export function follow(store: Store, open: (url: string) => EventSource = (url) => new EventSource(url)): () => void {
  let source: EventSource | undefined;
  let again: ReturnType<typeof setTimeout> | undefined;
  let gathering: ReturnType<typeof setTimeout> | undefined;
  let issuers = false;
  let ended = false;

  function told(): void {
    gathering = undefined;
    store.dispatch(dashboardApi.util.invalidateTags(issuers ? ['Log', 'Issuers'] : ['Log']));
    issuers = false;
  }

  function changed(type: string): void {
    issuers ||= changesIssuers(type);
    // a burst of records is one look, and a tab that was paused catches up with one
    gathering ??= setTimeout(told, GATHER_MILLISECONDS);
  }

  function start(): void {
    const { offset } = store.getState().live;
    source = open(`/v1/monitor/stream${offset < 0 ? '' : `?after=${offset}`}`);
    source.addEventListener('begin', (event) => {
      store.dispatch(began(Number((event as MessageEvent<string>).data)));
    });
    source.addEventListener('record', (event) => {
      const record = JSON.parse((event as MessageEvent<string>).data) as RecordRow;
      store.dispatch(recordHeard(record));
      changed(record.type);
    });
    source.addEventListener('error', () => {
      if (ended) return;
      store.dispatch(connectionChanged('away'));
      if (source?.readyState === 2) {
        source.close();
        again = setTimeout(start, AGAIN_MILLISECONDS);
        store.dispatch(dashboardApi.util.invalidateTags(['Session']));
      }
    });
  }

  start();
  return () => {
    ended = true;
    clearTimeout(again);
    clearTimeout(gathering);
    source?.close();
  };
}
