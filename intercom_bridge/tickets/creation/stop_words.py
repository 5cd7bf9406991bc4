"""Words that say nothing about a ticket's subject, in the panel's languages, without accents and in lower case."""

_FUNCTION_WORDS = """
a an the my your our his her its their this that these those i you he she it we they me him us them is are was were be
been am do does did has have had not no can cannot could will would should must in on at of to for from with by and or
but if so as any more since some again still very please t s don doesn isn won
le la les l un une des du de d au aux mon ma mes ton ta tes son sa ses notre nos votre vos leur leurs ce cet cette ces
je j tu il elle on nous vous ils elles m te se en y est sont etait suis sommes etes ai as ont avons avez ne n pas plus
que qu qui dans sur avec sans pour par et ou mais depuis tres encore toujours peut peux svp
der die das den dem ein eine einen einem einer eines mein meine meinen meinem meiner unser unsere ihr ihre sein seine
dieser diese dieses ich du er sie es wir man mich mir uns ist sind war waren bin hat habe haben wird werden kann konnen
nicht kein keine keinen mehr im am auf aus bei mit nach von vom zu zum zur fur um und oder aber wenn dass seit noch
immer wieder sehr bitte
el los las una unos unas mi mis tus su sus nuestro nuestra este esta estos estas ese esa yo ella nosotros lo le son
estan era ni del al con sin por para pero desde muy todavia ya mas puedo puede
"""
# Words which say that something does not work, but not what.
_TROUBLE_WORDS = """
anymore boot boots booting broke broken error errors fail failed fails failure help issue issues nothing problem
problems start started starting starts stop stopped stops trouble work worked working works
aide cassee demarre demarrer erreur erreurs fonctionne marche panne probleme problemes rien
defekt fehler funktioniert funktionieren geht gehen hilfe kaputt lauft nichts probleme starten startet
arranca averia averiado ayuda enciende errores falla fallo funciona funcionan inicia nada problema problemas rota roto
"""

STOP_WORDS = frozenset((_FUNCTION_WORDS + _TROUBLE_WORDS).split())
