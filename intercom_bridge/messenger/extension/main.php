<?php
/**
 * Shows the Intercom Messenger in iTop's portals and console to the people whom the bridge selects.
 *
 * The extension sends the signed-in person to the bridge, and keeps the bridge's answer in iTop's session for some
 * minutes. The Messenger API secret stays in the bridge. If the bridge does not answer in time, the page has no chat.
 *
 * @license MIT
 */
class IntercomBridgeMessenger
{
	const ADDRESS = '@ADDRESS@';
	const KEY_ID = '@KEY_ID@';
	const KEY = '@KEY@';
	const TIMEOUT_MS = 300;
	const MAX_ANSWER_BYTES = 65536;
	const MAX_CACHE_SECONDS = 600;
	const RETRY_AFTER_SECONDS = 10;
	const LOG_EVERY_SECONDS = 60;
	const SESSION_KEY = 'intercom-bridge-messenger';
	const API_BASES = array('https://api-iam.intercom.io', 'https://api-iam.eu.intercom.io', 'https://api-iam.au.intercom.io');

	/** Returns the JavaScript for a page, or "" if nobody is signed in. Never throws. */
	public static function ScriptFor($sPage)
	{
		try {
			$iUser = (int) UserRights::GetUserId();
			if ($iUser <= 0) {
				return '';
			}
			// An administrator who has switched to another user's account must not write in that user's name.
			$aSettings = UserRights::IsImpersonated() ? null : self::GetSettings((string) $sPage, $iUser);
			return self::Script(hash('sha256', self::KEY_ID.$iUser), $aSettings);
		} catch (\Exception $e) {
			self::LogFailure($e->getMessage());
		} catch (\Error $e) {
			self::LogFailure($e->getMessage());
		}
		return '';
	}

	/** Returns the settings of the Messenger, or null if this page shows none. */
	private static function GetSettings($sPage, $iUser)
	{
		$oPerson = UserRights::GetContactObject();
		if ($oPerson === null) {
			return null;
		}
		$aProfiles = array_values(UserRights::ListProfiles());
		$sCacheKey = hash('sha256', json_encode(array($sPage, $iUser, $oPerson->GetKey(), $aProfiles)));
		$aCache = self::GetCache();
		if (isset($aCache[$sCacheKey]) && $aCache[$sCacheKey]['until'] > time()) {
			return $aCache[$sCacheKey]['settings'];
		}
		if (self::SecondsSinceFailure() < self::RETRY_AFTER_SECONDS) {
			return null;
		}
		$aAnswer = self::Ask(array(
			'time' => time(),
			'nonce' => bin2hex(random_bytes(16)),
			'page' => $sPage,
			'person' => array('class' => get_class($oPerson), 'id' => (int) $oPerson->GetKey()),
			'profiles' => $aProfiles,
			'language' => (string) UserRights::GetUserLanguage(),
		));
		$aSettings = isset($aAnswer['messenger']['settings']) ? $aAnswer['messenger']['settings'] : null;
		$iSeconds = self::RETRY_AFTER_SECONDS;
		if ($aAnswer !== null) {
			$iSeconds = min(self::MAX_CACHE_SECONDS, max(0, (int) $aAnswer['cache_seconds']));
		}
		// Remove the answers for other accounts that have used this session.
		$aCache = array_filter($aCache, function ($aEntry) use ($iUser) { return $aEntry['user'] === $iUser; });
		$aCache[$sCacheKey] = array('user' => $iUser, 'until' => time() + $iSeconds, 'settings' => $aSettings);
		self::SetCache($aCache);
		return $aSettings;
	}

	/** Returns the bridge's answer, or null if the bridge gives no valid answer in time. */
	private static function Ask($aQuestion)
	{
		$sBody = json_encode($aQuestion, JSON_PARTIAL_OUTPUT_ON_ERROR);
		$sAnswer = '';
		$hCurl = curl_init(self::ADDRESS.'/messenger/identity');
		curl_setopt_array($hCurl, array(
			CURLOPT_POST => true,
			CURLOPT_POSTFIELDS => $sBody,
			CURLOPT_WRITEFUNCTION => function ($hCurl, $sPart) use (&$sAnswer) {
				$sAnswer .= $sPart;
				// 0 makes curl abort the transfer.
				return strlen($sAnswer) <= self::MAX_ANSWER_BYTES ? strlen($sPart) : 0;
			},
			CURLOPT_NOSIGNAL => true,
			CURLOPT_CONNECTTIMEOUT_MS => self::TIMEOUT_MS,
			CURLOPT_TIMEOUT_MS => self::TIMEOUT_MS,
			CURLOPT_HTTPHEADER => array(
				'Content-Type: application/json',
				'Expect:',
				'X-Bridge-Key: '.self::KEY_ID,
				'X-Bridge-Signature: '.hash_hmac('sha256', $sBody, self::KEY),
			),
		));
		$bIsComplete = self::Execute($hCurl);
		$iStatus = (int) curl_getinfo($hCurl, CURLINFO_HTTP_CODE);
		$sError = curl_error($hCurl);
		$aAnswer = $bIsComplete ? json_decode($sAnswer, true) : null;
		if ($iStatus !== 200 || !is_array($aAnswer) || !array_key_exists('messenger', $aAnswer) || !isset($aAnswer['cache_seconds'])) {
			$sReason = $sError === '' ? "HTTP $iStatus" : $sError;
			if ($iStatus === 401) {
				$sReason .= ": check this server's clock, and whether the key was replaced";
			}
			// After a slow answer, other sessions may still ask: the bridge queries iTop once for each person, and caches the result.
			$bIsSlow = curl_errno($hCurl) === CURLE_OPERATION_TIMEDOUT;
			self::LogFailure($sReason, !$bIsSlow);
			return null;
		}
		return $aAnswer;
	}

	/**
	 * Executes the request, and returns whether the answer is complete.
	 *
	 * If no DNS server answers, curl ignores the time limit and waits for the system's resolver, by default ten seconds.
	 * PHP 8.3 has an option against this. For older versions, the resolver is told to give up after a second per server.
	 */
	private static function Execute($hCurl)
	{
		if (defined('CURLOPT_QUICK_EXIT')) {
			curl_setopt($hCurl, constant('CURLOPT_QUICK_EXIT'), true);
		}
		if (!function_exists('putenv')) {
			return curl_exec($hCurl);
		}
		$sOptions = getenv('RES_OPTIONS');
		putenv('RES_OPTIONS=timeout:1 attempts:1');
		try {
			return curl_exec($hCurl);
		} finally {
			putenv($sOptions === false ? 'RES_OPTIONS' : "RES_OPTIONS=$sOptions");
		}
	}

	/**
	 * Logs the failure. If it concerns all sessions, none of them asks the bridge again for RETRY_AFTER_SECONDS.
	 *
	 * Never throws, even if PHP is configured to turn warnings into exceptions.
	 */
	private static function LogFailure($sReason, $bConcernsAllSessions = true)
	{
		try {
			if ($bConcernsAllSessions) {
				@touch(self::MarkerPath('failure'));
			}
			if (self::MayLog()) {
				$sReason = str_replace(array("\r", "\n"), ' ', $sReason);
				IssueLog::Error('Intercom Messenger: the bridge at '.self::ADDRESS.' gave no usable answer ('.$sReason.'). The pages have no chat until it does.');
			}
		} catch (\Exception $e) {
		} catch (\Error $e) {
		}
	}

	/** Returns true at most once in LOG_EVERY_SECONDS, among all PHP processes of this iTop. */
	private static function MayLog()
	{
		$sMarker = self::MarkerPath('logged');
		clearstatcache(true, $sMarker);
		if (!is_file($sMarker)) {
			// "x" fails if the file exists, so only one process creates it.
			return @fopen($sMarker, 'x') !== false;
		}
		$hMarker = @fopen($sMarker, 'c');
		if ($hMarker === false || !flock($hMarker, LOCK_EX | LOCK_NB)) {
			return false;
		}
		$aStat = fstat($hMarker);
		return abs(time() - $aStat['mtime']) >= self::LOG_EVERY_SECONDS && touch($sMarker);
	}

	private static function SecondsSinceFailure()
	{
		$sMarker = self::MarkerPath('failure');
		clearstatcache(true, $sMarker);
		// `abs`, because after the clock was set back the failure is in the future, and must not disable the chat until then.
		return is_file($sMarker) ? abs(time() - (int) @filemtime($sMarker)) : PHP_INT_MAX;
	}

	/** Returns the path of an empty file. Its modification time is when an event last happened. */
	private static function MarkerPath($sEvent)
	{
		$sDataDirectory = APPROOT.'data';
		$sDirectory = is_writable($sDataDirectory) ? $sDataDirectory : sys_get_temp_dir();
		// Several iTops may share the directory for temporary files.
		return $sDirectory.'/'.self::SESSION_KEY.'-'.md5(APPROOT).'.'.$sEvent;
	}

	/** Returns the answers in iTop's session: cache key => account, expiry time and settings. */
	private static function GetCache()
	{
		if (class_exists('Combodo\\iTop\\Application\\Helper\\Session')) {
			$aCache = \Combodo\iTop\Application\Helper\Session::Get(self::SESSION_KEY, array());
		} else {
			$aCache = isset($_SESSION[self::SESSION_KEY]) ? $_SESSION[self::SESSION_KEY] : array();
		}
		return is_array($aCache) ? $aCache : array();
	}

	private static function SetCache($aCache)
	{
		if (class_exists('Combodo\\iTop\\Application\\Helper\\Session')) {
			\Combodo\iTop\Application\Helper\Session::Set(self::SESSION_KEY, $aCache);
		} else {
			$_SESSION[self::SESSION_KEY] = $aCache;
		}
	}

	/**
	 * Returns the script for a page. It ends the Messenger's session of another person who used this browser before. It
	 * starts the Messenger if there are valid settings. JSON_HEX_TAG escapes "<", so the settings cannot end the element.
	 */
	private static function Script($sUser, $aSettings)
	{
		$sSettings = 'null';
		if (self::AreValidSettings($aSettings)) {
			$sSettings = json_encode($aSettings, JSON_HEX_TAG | JSON_HEX_AMP | JSON_HEX_APOS | JSON_HEX_QUOT);
		}
		return <<<JS
(function (user, settings) {
	"use strict";
	var KEY = "intercom-bridge-user";
	function previousUser() { try { return window.localStorage.getItem(KEY); } catch (e) { return null; } }
	function storeUser() { try { window.localStorage.setItem(KEY, user); } catch (e) { } }
	// Deletes the Messenger's cookies on every parent domain, because the page cannot see which domain has them.
	function endSession() {
		if (typeof window.Intercom === "function") { window.Intercom("shutdown"); }
		var labels = window.location.hostname.split(".");
		document.cookie.split(";").forEach(function (pair) {
			var name = pair.split("=")[0].trim();
			if (!/^intercom-/.test(name)) { return; }
			for (var i = 0; i < labels.length; i++) {
				document.cookie = name + "=; Max-Age=0; path=/; domain=" + labels.slice(i).join(".");
			}
			document.cookie = name + "=; Max-Age=0; path=/";
		});
		try {
			Object.keys(window.localStorage).forEach(function (name) {
				if (/^intercom[.-]/.test(name)) { window.localStorage.removeItem(name); }
			});
		} catch (e) { }
	}
	if (previousUser() !== null && previousUser() !== user) { endSession(); }
	document.addEventListener("click", function (event) {
		var link = event.target.closest ? event.target.closest("a[href*='logoff.php']") : null;
		if (link) { endSession(); }
	}, true);
	if (settings === null) {
		if (previousUser() !== null) { endSession(); }
		return;
	}
	storeUser();
	window.intercomSettings = settings;
	if (typeof window.Intercom === "function") { window.Intercom("boot", settings); return; }
	// Intercom's standard loader: calls of `Intercom` are queued until its script is loaded.
	var queue = function () { queue.c(arguments); };
	queue.q = [];
	queue.c = function (call) { queue.q.push(call); };
	window.Intercom = queue;
	var script = document.createElement("script");
	script.async = true;
	script.src = "https://widget.intercom.io/widget/" + settings.app_id;
	document.head.appendChild(script);
})("$sUser", $sSettings);
JS;
	}

	private static function AreValidSettings($aSettings)
	{
		return is_array($aSettings)
			&& isset($aSettings['app_id'], $aSettings['api_base'], $aSettings['intercom_user_jwt'])
			&& is_string($aSettings['app_id'])
			&& preg_match('/^[A-Za-z0-9_-]{1,64}$/D', $aSettings['app_id'])
			&& in_array($aSettings['api_base'], self::API_BASES, true);
	}
}

class IntercomBridgeMessengerPortal extends AbstractPortalUIExtension
{
	public function GetJSInline($oContainer)
	{
		return IntercomBridgeMessenger::ScriptFor(isset($_ENV['PORTAL_ID']) ? $_ENV['PORTAL_ID'] : '');
	}
}

if (interface_exists('iBackofficeReadyScriptExtension')) {
	class IntercomBridgeMessengerConsole implements iBackofficeReadyScriptExtension
	{
		public function GetReadyScript(): string
		{
			return IntercomBridgeMessenger::ScriptFor('backoffice');
		}
	}
} else {
	/** The console of iTop 2.7. */
	class IntercomBridgeMessengerConsole implements iPageUIExtension
	{
		public function GetNorthPaneHtml(iTopWebPage $oPage)
		{
			$oPage->add_ready_script(IntercomBridgeMessenger::ScriptFor('backoffice'));
			return '';
		}

		public function GetSouthPaneHtml(iTopWebPage $oPage)
		{
			return '';
		}

		public function GetBannerHtml(iTopWebPage $oPage)
		{
			return '';
		}
	}
}
