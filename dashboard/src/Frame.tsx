// The frame around every page: where one can go, which moment is shown, whether the page hears of what happens.
import {
  Alert,
  Button,
  Label,
  Masthead,
  MastheadBrand,
  MastheadContent,
  MastheadMain,
  MastheadToggle,
  Nav,
  NavItem,
  NavList,
  Page,
  PageSidebar,
  PageSidebarBody,
  PageToggleButton,
  SkipToContent,
  Toolbar,
  ToolbarContent,
  ToolbarGroup,
  ToolbarItem,
} from '@patternfly/react-core';
import BarsIcon from '@patternfly/react-icons/dist/esm/icons/bars-icon';
import MoonIcon from '@patternfly/react-icons/dist/esm/icons/moon-icon';
import SunIcon from '@patternfly/react-icons/dist/esm/icons/sun-icon';
import { useEffect, useState } from 'react';
import type { ReactNode } from 'react';
import { NavLink, useLocation } from 'react-router';
import { useOverviewQuery, useSignOutMutation } from './api/api';
import type { Session } from './api/api';
import { keepTheme, themeChosen, useAppDispatch, useAppSelector } from './store';
import { MomentPicker } from './parts/MomentPicker';
import { Text } from './parts/Text';
import { useAddress, useAsOf, useConnection } from './parts/address';

const PLACES: [string, string][] = [
  ['/', 'Overview'],
  ['/certificates', 'Certificates'],
  ['/services', 'Services'],
  ['/issuers', 'Issuers'],
  ['/log', 'Log'],
  ['/system', 'System'],
];

export function Frame({ session, children }: { session: Session; children: ReactNode }): ReactNode {
  const [isOpen, setOpen] = useState(() => globalThis.innerWidth >= 1200);
  const location = useLocation();
  const address = useAddress();
  const isNarrow = (): boolean => globalThis.innerWidth < 1200;
  useEffect(() => {
    document.title = `${PLACES.find(([path]) => path !== '/' && location.pathname.startsWith(path))?.[1] ?? 'Overview'} · Quicklime`;
  }, [location.pathname]);
  const masthead = (
    <Masthead>
      <MastheadMain>
        <MastheadToggle>
          <PageToggleButton variant="plain" aria-label="Navigation" isSidebarOpen={isOpen} onSidebarToggle={() => setOpen(!isOpen)}>
            <BarsIcon />
          </PageToggleButton>
        </MastheadToggle>
        <MastheadBrand>
          <NavLink to={address('/')} className="ql-brand">
            Quicklime
          </NavLink>
        </MastheadBrand>
      </MastheadMain>
      <MastheadContent>
        <Toolbar isFullHeight isStatic>
          <ToolbarContent>
            <ToolbarGroup align={{ default: 'alignEnd' }} gap={{ default: 'gapSm' }}>
              <ToolbarItem>
                <Liveness />
              </ToolbarItem>
              <ToolbarItem>
                <MomentPicker />
              </ToolbarItem>
              <ToolbarItem>
                <ThemeButton />
              </ToolbarItem>
              <ToolbarItem>
                <SignedIn session={session} />
              </ToolbarItem>
            </ToolbarGroup>
          </ToolbarContent>
        </Toolbar>
      </MastheadContent>
    </Masthead>
  );
  const sidebar = (
    <PageSidebar isSidebarOpen={isOpen}>
      <PageSidebarBody>
        <Nav aria-label="Pages">
          <NavList>
            {PLACES.map(([path, name]) => {
              const isHere = path === '/' ? location.pathname === '/' : location.pathname.startsWith(path);
              return (
                <NavItem key={path} itemId={path} isActive={isHere}>
                  <NavLink to={address(path)} end={path === '/'} onClick={() => setOpen(!isNarrow())}>
                    {name}
                  </NavLink>
                </NavItem>
              );
            })}
          </NavList>
        </Nav>
      </PageSidebarBody>
    </PageSidebar>
  );
  return (
    <Page
      masthead={masthead}
      sidebar={sidebar}
      mainContainerId="content"
      mainAriaLabel="Content"
      isContentFilled
      skipToContent={<SkipToContent href="#content">To the content</SkipToContent>}
    >
      <Notices />
      {children}
    </Page>
  );
}

/** The page tells when what it shows is not the present: a past moment, or a view that has not caught up. */
function Notices(): ReactNode {
  const { asOf, setAsOf } = useAsOf();
  const { data } = useOverviewQuery({ as_of: undefined, period: 'day' });
  if (asOf !== undefined) {
    return (
      <Alert
        variant="info"
        isInline
        isPlain
        className="ql-notice"
        title={
          <>
            The past: everything as of{' '}
            <Text value={/^\d+$/.test(asOf) ? `record ${asOf}` : new Date(asOf).toLocaleString('en-GB')} most={60} />
          </>
        }
        actionLinks={
          <Button variant="link" isInline onClick={() => setAsOf(undefined)}>
            Back to now
          </Button>
        }
      />
    );
  }
  if (data && data.as_of.behind > 200) {
    return (
      <Alert variant="warning" isInline isPlain className="ql-notice" title={`The view is being made of the log: ${data.as_of.behind.toLocaleString('en')} records are missing yet`} />
    );
  }
  return null;
}

function Liveness(): ReactNode {
  const connection = useConnection();
  const { asOf } = useAsOf();
  if (asOf !== undefined) return null;
  return (
    <span role="status" className="ql-live">
      <Label isCompact variant="outline" color={connection === 'live' ? 'green' : 'grey'}>
        {connection === 'live' ? 'Live' : connection === 'away' ? 'Reconnecting' : 'Connecting'}
      </Label>
    </span>
  );
}

function ThemeButton(): ReactNode {
  const theme = useAppSelector((state) => state.looks.theme);
  const dispatch = useAppDispatch();
  const other = theme === 'dark' ? 'light' : 'dark';
  useEffect(() => keepTheme(theme), [theme]);
  return (
    <Button
      variant="plain"
      aria-label={`Use the ${other} theme`}
      icon={theme === 'dark' ? <SunIcon /> : <MoonIcon />}
      onClick={() => dispatch(themeChosen(other))}
    />
  );
}

function SignedIn({ session }: { session: Session }): ReactNode {
  const [signOut] = useSignOutMutation();
  return (
    <span className="ql-who">
      <span className="ql-who__name">
        <Text value={session.label || session.id} most={24} /> ({session.role})
      </span>
      <Button variant="link" isInline onClick={() => void signOut(undefined)}>
        Sign out
      </Button>
    </span>
  );
}
