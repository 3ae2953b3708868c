// Loading, empty, error: the three states of every answer that is not there, or holds nothing.
import { Alert, Button, EmptyState, EmptyStateActions, EmptyStateBody, EmptyStateFooter, PageSection, Skeleton, Title } from '@patternfly/react-core';
import { useEffect } from 'react';
import type { ReactNode } from 'react';
import { isBusy, said } from '../api/api';

const AGAIN_MILLISECONDS = 3000;

type Asked<T> = { data?: T | undefined; error?: unknown; isFetching: boolean; refetch: () => unknown };

/** What `children` makes of the answer; meanwhile a skeleton, and where it failed, why, and a way to ask again. */
export function Answer<T>({ asked, children }: { asked: Asked<T>; children: (data: T) => ReactNode }): ReactNode {
  const { data, error, refetch } = asked;
  const busy = isBusy(error);
  useEffect(() => {
    if (!busy) return undefined;
    const again = setInterval(() => void refetch(), AGAIN_MILLISECONDS);
    return () => clearInterval(again);
  }, [busy, refetch]);
  if (data !== undefined) {
    return (
      <>
        {error ? <Failed error={error} refetch={refetch} /> : null}
        {children(data)}
      </>
    );
  }
  return error ? <Failed error={error} refetch={refetch} /> : <Loading />;
}

function Failed({ error, refetch }: { error: unknown; refetch: () => unknown }): ReactNode {
  const { title, detail } = said(error);
  return (
    <Alert
      variant={isBusy(error) ? 'info' : 'danger'}
      isInline
      title={title}
      actionLinks={
        <Button variant="link" isInline onClick={() => void refetch()}>
          Ask again
        </Button>
      }
    >
      {detail}
    </Alert>
  );
}

export function Loading(): ReactNode {
  return (
    <div role="status" aria-label="Loading" className="ql-loading">
      <Skeleton screenreaderText="Loading" width="40%" />
      <Skeleton width="90%" />
      <Skeleton width="75%" />
      <Skeleton width="82%" />
    </div>
  );
}

export function Nothing({ title, children, action }: { title: string; children?: ReactNode; action?: ReactNode }): ReactNode {
  return (
    <EmptyState titleText={title} headingLevel="h2" variant="sm">
      {children ? <EmptyStateBody>{children}</EmptyStateBody> : null}
      {action ? (
        <EmptyStateFooter>
          <EmptyStateActions>{action}</EmptyStateActions>
        </EmptyStateFooter>
      ) : null}
    </EmptyState>
  );
}

export function Heading({ title, children }: { title: ReactNode; children?: ReactNode }): ReactNode {
  return (
    <PageSection className="ql-heading">
      <Title headingLevel="h1">{title}</Title>
      {children}
    </PageSection>
  );
}
