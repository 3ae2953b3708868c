// The page's state: what the API answered, what was heard of the log, and how the page looks.
import { configureStore, createSlice } from '@reduxjs/toolkit';
import type { PayloadAction } from '@reduxjs/toolkit';
import { useDispatch, useSelector } from 'react-redux';
import { dashboardApi } from './api/api';
import type { RecordRow } from './api/api';

export type Connection = 'connecting' | 'live' | 'away';
export type Theme = 'light' | 'dark';

const HEARD_MAX = 200;
const THEME_KEY = 'quicklime-theme';

const live = createSlice({
  name: 'live',
  initialState: { connection: 'connecting' as Connection, offset: -1, heard: [] as RecordRow[] },
  reducers: {
    connectionChanged(state, { payload }: PayloadAction<Connection>) {
      state.connection = payload;
    },
    began(state, { payload }: PayloadAction<number>) {
      state.connection = 'live';
      state.offset = Math.max(state.offset, payload);
    },
    /** Each offset counts once, however often a connection is taken up again. */
    recordHeard(state, { payload }: PayloadAction<RecordRow>) {
      if (payload.offset <= state.offset) return;
      state.offset = payload.offset;
      state.heard.unshift(payload);
      state.heard.length = Math.min(state.heard.length, HEARD_MAX);
    },
  },
});

function firstTheme(): Theme {
  const kept = globalThis.localStorage.getItem(THEME_KEY);
  if (kept === 'light' || kept === 'dark') return kept;
  return globalThis.matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light';
}

const looks = createSlice({
  name: 'looks',
  initialState: () => ({ theme: firstTheme() }),
  reducers: {
    themeChosen(state, { payload }: PayloadAction<Theme>) {
      state.theme = payload;
    },
  },
});

export const { connectionChanged, began, recordHeard } = live.actions;
export const { themeChosen } = looks.actions;
export const liveReducer = live.reducer;

export function makeStore() {
  return configureStore({
    reducer: { api: dashboardApi.reducer, live: live.reducer, looks: looks.reducer },
    middleware: (standard) => standard().concat(dashboardApi.middleware),
  });
}

export function keepTheme(theme: Theme): void {
  document.documentElement.classList.toggle('pf-v6-theme-dark', theme === 'dark');
  try {
    globalThis.localStorage.setItem(THEME_KEY, theme);
  } catch {
    // a browser that keeps nothing asks again next time
  }
}

export type Store = ReturnType<typeof makeStore>;
export type State = ReturnType<Store['getState']>;
export const useAppDispatch = useDispatch.withTypes<Store['dispatch']>();
export const useAppSelector = useSelector.withTypes<State>();
