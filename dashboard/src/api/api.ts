// The dashboard's API, by the types that openapi.json describes (npm run types).
import { createApi, fetchBaseQuery } from '@reduxjs/toolkit/query/react';
import type { BaseQueryFn, FetchArgs, FetchBaseQueryError } from '@reduxjs/toolkit/query';
import type { components, operations } from './schema';

type Schemas = components['schemas'];
export type Overview = Schemas['Overview'];
export type Counts = Schemas['Counts'];
export type SeriesPoint = Schemas['SeriesPoint'];
export type Attention = Schemas['Attention'];
export type CertificateRow = Schemas['CertificateRow'];
export type CertificatePage = Schemas['CertificatePage'];
export type CertificateDetail = Schemas['CertificateDetail'];
export type ServicePage = Schemas['ServicePage'];
export type ServiceRow = Schemas['ServiceRow'];
export type Lineages = Schemas['Lineages'];
export type Lane = Schemas['Lane'];
export type Link = Schemas['Link'];
export type RefusalRow = Schemas['RefusalRow'];
export type RecordRow = Schemas['RecordRow'];
export type RecordPage = Schemas['RecordPage'];
export type RecordDetail = Schemas['RecordDetail'];
export type IssuerList = Schemas['IssuerList'];
export type IssuerRow = Schemas['IssuerRow'];
export type System = Schemas['System'];
export type Session = Schemas['Session'];
export type Facets = Schemas['Facets'];
export type Who = Schemas['Who'];
export type AsOf = Schemas['AsOf'];
export type Problem = Schemas['Problem'];

export type InventoryQuery = NonNullable<operations['findCertificates']['parameters']['query']>;
export type RecordsQuery = NonNullable<operations['listRecords']['parameters']['query']>;
type AsOfQuery = { as_of?: string | undefined };

export type RevokeCommand = { serial: string; reason: string };

let csrf = '';
export function rememberCsrf(value: string): void {
  csrf = value;
}


const ask = fetchBaseQuery({
  baseUrl: '/v1',
  credentials: 'same-origin',
  prepareHeaders: (headers) => {
    if (csrf) headers.set('quicklime-csrf', csrf);
    return headers;
  },
});

/** Whoever is not, or no longer, signed in is shown the door: the session's query is asked anew. */
const asked: BaseQueryFn<string | FetchArgs, unknown, FetchBaseQueryError> = async (args, api, extra) => {
  const answer = await ask(args, api, extra);
  if (answer.error?.status === 401 && api.endpoint !== 'session' && api.endpoint !== 'signIn') {
    api.dispatch(dashboardApi.util.invalidateTags(['Session']));
  }
  return answer;
};

/** A query string; lists come as repeated parameters, what is empty does not come. */
export function queryString(query: Record<string, unknown>): string {
  const parameters = new URLSearchParams();
  for (const [key, value] of Object.entries(query)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== undefined && one !== null && one !== '') parameters.append(key, String(one));
    }
  }
  const text = parameters.toString();
  return text ? `?${text}` : '';
}

export const dashboardApi = createApi({
  reducerPath: 'api',
  baseQuery: asked,
  tagTypes: ['Session', 'Log', 'Issuers'],
  endpoints: (build) => ({
    session: build.query<Session, undefined>({ query: () => 'session', providesTags: ['Session'] }),
    signIn: build.mutation<Session, string>({
      query: (token) => ({ url: 'session', method: 'POST', body: { token } }),
      invalidatesTags: (_result, error) => (error ? [] : ['Session', 'Log', 'Issuers']),
    }),
    signOut: build.mutation<null, undefined>({
      query: () => ({ url: 'session', method: 'DELETE' }),
      invalidatesTags: ['Session'],
    }),
    overview: build.query<Overview, AsOfQuery & { period: string }>({
      query: (query) => `monitor/overview${queryString(query)}`,
      providesTags: ['Log'],
    }),
    certificates: build.infiniteQuery<CertificatePage, Omit<InventoryQuery, 'after'>, string>({
      query: ({ queryArg, pageParam }) =>
        `monitor/certificates${queryString({ ...queryArg, after: pageParam })}`,
      infiniteQueryOptions: {
        initialPageParam: '',
        getNextPageParam: (last) => last.next ?? undefined,
      },
      providesTags: ['Log'],
    }),
    certificate: build.query<CertificateDetail, AsOfQuery & { serial: string }>({
      query: ({ serial, ...query }) => `monitor/certificates/${serial}${queryString(query)}`,
      providesTags: ['Log'],
    }),
    facets: build.query<Facets, undefined>({ query: () => 'monitor/facets', providesTags: ['Issuers'] }),
    services: build.infiniteQuery<ServicePage, AsOfQuery & { q?: string | undefined }, string>({
      query: ({ queryArg, pageParam }) =>
        `monitor/services${queryString({ ...queryArg, after: pageParam, limit: 40 })}`,
      infiniteQueryOptions: {
        initialPageParam: '',
        getNextPageParam: (last) => last.next ?? undefined,
      },
      providesTags: ['Log'],
    }),
    lineages: build.query<Lineages, AsOfQuery & { name: string }>({
      query: (query) => `monitor/lineages${queryString(query)}`,
      providesTags: ['Log'],
    }),
    issuers: build.query<IssuerList, undefined>({ query: () => 'monitor/issuers', providesTags: ['Issuers'] }),
    records: build.infiniteQuery<RecordPage, Omit<RecordsQuery, 'before'>, number | null>({
      query: ({ queryArg, pageParam }) => `monitor/records${queryString({ ...queryArg, before: pageParam })}`,
      infiniteQueryOptions: {
        initialPageParam: null,
        getNextPageParam: (last) => last.next ?? undefined,
      },
      providesTags: ['Log'],
    }),
    record: build.query<RecordDetail, number>({ query: (offset) => `monitor/records/${offset}` }),
    system: build.query<System, undefined>({ query: () => 'monitor/system', providesTags: ['Log'] }),
    revoke: build.mutation<unknown, RevokeCommand>({
      query: ({ serial, reason }) => ({
        url: `certificates/${serial}/revocation`,
        method: 'POST',
        body: { reason },
      }),
      invalidatesTags: ['Log'],
    }),
  }),
});

/** What an answer that is no answer says to people. */
export function said(error: unknown): { title: string; detail: string } {
  if (typeof error === 'object' && error !== null && 'status' in error) {
    const { status, data } = error as { status: unknown; data?: unknown };
    if (typeof data === 'object' && data !== null && 'detail' in data) {
      const problem = data as Problem;
      return { title: problem.title, detail: problem.detail };
    }
    if (status === 'FETCH_ERROR') {
      return { title: 'The authority does not answer', detail: 'It may be restarting; this page asks again by itself.' };
    }
    return { title: 'An unexpected answer', detail: String(status) };
  }
  return { title: 'Something went wrong', detail: String(error) };
}

export function isBusy(error: unknown): boolean {
  return (
    typeof error === 'object' &&
    error !== null &&
    'status' in error &&
    (error.status === 503 || error.status === 'FETCH_ERROR')
  );
}


export const {
  useSessionQuery,
  useSignInMutation,
  useSignOutMutation,
  useOverviewQuery,
  useCertificatesInfiniteQuery,
  useCertificateQuery,
  useFacetsQuery,
  useServicesInfiniteQuery,
  useLineagesQuery,
  useIssuersQuery,
  useRecordsInfiniteQuery,
  useRecordQuery,
  useSystemQuery,
  useRevokeMutation,
} = dashboardApi;
